"""What Django is given when a task shall be sent on commit; tests/integration/test_neighbours.py has Django itself."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from unittest import mock

import pytest
from celery import Celery, signals
from celery.contrib.django import task as celery_django

from aurea_celery import Aurea, job
from aurea_celery._guard import fault_counts
from aurea_celery.capture import on_commit

callers: ContextVar[str] = ContextVar("callers", default="nobody's")


@pytest.fixture
def app() -> Iterator[Celery]:
    task_class = "celery.contrib.django.task:DjangoTask"
    app = Celery("committed", broker="memory://", set_as_current=False, task_cls=task_class)
    app.conf.task_default_queue = "committed"

    @app.task(name="committed.work", shared=False)
    def work() -> None:
        """Do nothing."""

    with contextlib.closing(Aurea(app)):
        yield app
    app.close()


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Django would call after the transaction."""
    given: list[Any] = []
    monkeypatch.setattr("django.db.transaction.on_commit", given.append)
    return given


def headers_of(callback: Any) -> dict[str, Any]:
    """The headers of the message that a callback sends, and the caller's variable while it does."""
    found: dict[str, Any] = {}

    def note(headers: dict[str, Any], **_: Any) -> None:
        found.update(headers, variable=callers.get())

    signals.before_task_publish.connect(note)
    try:
        callback()
    finally:
        signals.before_task_publish.disconnect(note)
    return found


@pytest.mark.parametrize("method", ["delay_on_commit", "apply_async_on_commit"])
def test_the_block_goes_along_and_nothing_else_does(app: Celery, callbacks: list[Any], method: str) -> None:
    task: Any = app.tasks["committed.work"]
    with job("nightly", tags={"customer": "acme"}):
        getattr(task, method)()
    token = callers.set("the commit's")
    with job("committing", tags={"step": "commit"}):
        sent = headers_of(callbacks[0])
        own = headers_of(task.delay)
    callers.reset(token)

    assert (sent["aurea_job"], sent["aurea_tags"], sent["variable"]) == (
        "nightly",
        {"customer": "acme"},
        "the commit's",
    )
    assert (own["aurea_job"], own["aurea_tags"]) == ("committing", {"step": "commit"}), "what was current is again"


def test_without_a_job_django_is_given_what_celery_gives(app: Celery, callbacks: list[Any]) -> None:
    task: Any = app.tasks["committed.work"]
    with mock.patch.object(task, "delay") as delay:
        task.delay_on_commit(1, two=2)

    (callback,) = callbacks
    assert isinstance(callback, functools.partial)
    assert (callback.func, callback.args, callback.keywords) == (delay, (1,), {"two": 2})


def test_a_fault_of_ours_leaves_celerys_own_way(
    app: Celery, callbacks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    monkeypatch.setattr(on_commit, "carry_current", lambda _: 1 / 0)
    task: Any = app.tasks["committed.work"]
    with job("nightly"):
        task.delay_on_commit()

    assert headers_of(callbacks[0])["task"] == "committed.work"
    assert fault_counts["aurea_celery.capture.on_commit._Sender"] == 1


def test_the_class_is_celerys_again_without_the_plugin() -> None:
    on_commit.disconnect()
    untouched = celery_django.DjangoTask.delay_on_commit
    on_commit.connect()
    on_commit.connect()
    assert celery_django.DjangoTask.delay_on_commit is not untouched
    on_commit.disconnect()
    assert celery_django.DjangoTask.delay_on_commit is untouched
    on_commit.connect()


def test_the_class_is_loaded_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    on_commit.disconnect()
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.delitem(sys.modules, on_commit.MODULE)

    on_commit.connect()

    assert on_commit.MODULE not in sys.modules
