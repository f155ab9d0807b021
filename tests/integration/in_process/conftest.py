"""An app and its worker inside the test's own process, from Celery's fixtures, on the embedded servers.

The worker consumes the writer's queue too, so that a task's row is in the database a moment after it ran. It is a
thread with the solo pool: children, time limits and kills need the real worker processes of the other tests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.pytest import celery_worker  # pytest-celery's fixture of this name is a container
from kombu.asynchronous import set_event_loop

from aurea_celery import Aurea
from tests.integration.in_process.tasks import Tasks, add_tasks
from tests.integration.in_process.worker import Rows, close_results, settings_for

__all__ = ["celery_worker"]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A worker sets up the logging of its process, which outlives it here, unless somebody else does."""
    signals.setup_logging.connect(leave_logging_alone)
    yield
    signals.setup_logging.disconnect(leave_logging_alone)
    logging.captureWarnings(capture=False)


@pytest.fixture(autouse=True)
def _event_loop_of_its_own() -> Iterator[None]:
    """A worker takes the last one's event loop, with which Celery 5.5 never runs what is due later."""
    yield
    set_event_loop(None)


def leave_logging_alone(**_: object) -> None:
    """Set up nothing."""


@pytest.fixture
def celery_config(
    broker_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The app's configuration, with no say for the environment."""
    monkeypatch.delenv("AUREA_OUTBOX_DIR")
    return settings_for(broker_url, database_url, tmp_path / "outbox")


@pytest.fixture
def celery_app(celery_app: Celery) -> Iterator[Celery]:
    """Celery's fixture, with its result backend closed too, which Celery leaves to the garbage collector."""
    yield celery_app
    close_results(celery_app)


@pytest.fixture
def celery_worker_parameters() -> dict[str, Any]:
    """The documented way to let any worker write: add the queue."""
    return {"queues": ["celery", "aurea_metrics"]}


@pytest.fixture
def aurea(celery_app: Celery) -> Iterator[Aurea]:
    """The plugin on the app."""
    installed = Aurea(celery_app)
    yield installed
    installed.close()


@pytest.fixture
def tasks(celery_app: Celery) -> Tasks:
    """The app's tasks."""
    return add_tasks(celery_app)


@pytest.fixture
def worked(aurea: Aurea, tasks: Tasks, celery_worker: object) -> Tasks:
    """The app's tasks, with a worker that runs them; it learns them when it starts, so that it comes last."""
    return tasks


@pytest.fixture
def rows(database_url: str) -> Rows:
    """What is in the database."""
    return Rows(database_url)
