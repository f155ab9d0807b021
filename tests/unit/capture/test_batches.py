"""Runs of celery-batches, without a worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery_batches import Batches, SimpleRequest
from celery_batches.trace import apply_batches_task

from aurea_celery import job
from aurea_celery.events import TaskEvent
from aurea_celery.testing import recording


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("batches", broker="memory://", set_as_current=False)

    @app.task(base=Batches, name="batches.embed", shared=False)
    def embed(requests: list[Any]) -> None:
        if any(request.args for request in requests):
            raise LookupError

    @app.task(base=Batches, name="batches.named", shared=False, aurea_job="its own")
    def named(requests: list[Any]) -> None:
        """Have a job."""

    yield app
    app.close()


def message(number: int, *args: Any, **headers: Any) -> SimpleRequest:
    """A message as celery-batches hands it to a run."""
    received = {"id": str(number), "root_id": str(number), "retries": 0, **headers}
    return SimpleRequest(str(number), "batches.embed", args, {}, {}, "host", False, None, None, received)


def event_of_flush(app: Celery, *messages: SimpleRequest, task: str = "batches.embed") -> TaskEvent:
    """What is recorded of a run for these messages."""
    with recording(app) as recorder:
        apply_batches_task(app.tasks[task], (list(messages),), 0, None)
    return recorder.last


@pytest.mark.parametrize(
    ("headers", "job_id"),
    [
        ([{"aurea_job": "nightly"}, {"aurea_job": "nightly"}], "nightly"),
        ([{"aurea_job": "nightly"}, {"aurea_job": "daily"}], "none"),
        ([{"aurea_job": "nightly"}, {}], "none"),
        ([{"aurea_canvas_job": "canvas"}, {"aurea_canvas_job": "canvas"}], "canvas"),
        ([{"group": "group"}, {"group": "group"}], "group"),
        ([{"root_id": "root"}, {"root_id": "root"}], "root"),
        ([{"aurea_job": "nightly", "root_id": "root"}, {"aurea_job": "daily", "root_id": "root"}], "none"),
        ([{"headers": {"aurea_job": "nightly"}}, {"headers": {"aurea_job": "nightly"}}], "nightly"),
        ([{}, {}], "none"),
        ([{}], "0"),
    ],
)
def test_the_job_of_a_flush_is_that_of_all_its_messages(
    app: Celery, headers: list[dict[str, Any]], job_id: str
) -> None:
    messages = [message(number, **found) for number, found in enumerate(headers)]

    assert event_of_flush(app, *messages).job_id == job_id


def test_a_task_that_names_its_job(app: Celery) -> None:
    assert event_of_flush(app, message(1), message(2), task="batches.named").job_id == "its own"


def test_tags_are_those_that_all_messages_have(app: Celery) -> None:
    messages = [message(step, aurea_tags={"customer": "acme", "step": step}) for step in range(3)]

    assert event_of_flush(app, *messages).tags == {"customer": "acme"}
    assert event_of_flush(app, *messages, message(4)).tags == {}


def test_why_a_flush_failed_is_what_celery_batches_logs(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = event_of_flush(app, message(1, "fail"))
    assert (failed.status, failed.error_type) == ("failure", "LookupError")
    assert event_of_flush(app, message(1)).error_type is None

    monkeypatch.setattr(logging.getLogger("celery_batches.trace"), "disabled", True)
    failed = event_of_flush(app, message(1, "fail"))
    assert (failed.status, failed.error_type) == ("failure", None), "nothing is left of an earlier one"


def test_an_eager_run_is_of_the_job_around(app: Celery) -> None:
    with recording(app) as recorder, job("around", tags={"customer": "acme"}):
        app.tasks["batches.embed"].apply()

    assert (recorder.last.job_id, recorder.last.tags) == ("around", {"customer": "acme"})
