"""The class of an error is the one that was raised, also where Celery must put another one in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.trace import build_tracer
from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper, get_pickleable_exception

from aurea_celery import monitor_task
from aurea_celery.capture.error_types import error_type_of
from aurea_celery.testing import recording


class ProviderError(Exception):
    """An error that can be pickled."""


class ServerError(ProviderError):
    """One that cannot, as those of OpenAI's and Anthropic's SDKs, whose base class can."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class NoPickle(Exception):
    """An error that cannot be pickled, nor can any class above it."""

    def __init__(self, *, code: int) -> None:
        super().__init__(code)


ERRORS: dict[str, Callable[[], Exception]] = {
    "ServerError": lambda: ServerError("no", code=500),
    "NoPickle": lambda: NoPickle(code=3),
    "ValueError": ValueError,
}


def fail(error: Exception) -> None:
    """Fail."""
    raise error


def explicit(task: Any, error: Exception) -> None:
    """Retry in the handler of the error, and say for which."""
    try:
        fail(error)
    except Exception as caught:
        raise task.retry(exc=caught, countdown=0) from caught


def bare(task: Any, error: Exception) -> None:
    """Retry in the handler of the error, and do not say for which."""
    try:
        fail(error)
    except Exception:
        task.retry(countdown=0)


def afterwards(task: Any, error: Exception) -> None:
    """Retry once the error is handled."""
    try:
        fail(error)
    except Exception as caught:
        kept = caught
    raise task.retry(exc=kept, countdown=0, throw=False)


def by_hand(task: Any, error: Exception) -> None:
    """Tell Celery that something else has retried."""
    raise Retry("later", exc=error)


def monitored(task: Any, error: Exception) -> None:
    """Retry inside of a monitored function."""
    monitor_task(task_name="inner")(explicit)(task, error)


def autoretry(_: Any, error: Exception) -> None:
    """Let Celery retry."""
    fail(error)


WAYS = (explicit, bare, afterwards, by_hand, monitored, autoretry)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
@pytest.mark.parametrize("name", ERRORS)
def test_a_retry_has_the_type_of_the_failure(name: str, way: Any) -> None:
    app = Celery("unit", broker="memory://", set_as_current=False)

    @app.task(
        name="unit.call", bind=True, shared=False, autoretry_for=(Exception,) if way is autoretry else (), max_retries=1
    )
    def call(self: Task[Any, Any]) -> None:
        if self.request.retries:
            raise ERRORS[name]()
        way(self, ERRORS[name]())

    with recording(app) as recorder:
        for retries in (0, 1):
            task = app.tasks["unit.call"]
            request: dict[str, Any] = {"id": "an id", "retries": retries, "delivery_info": {}, "is_eager": False}
            build_tracer(task.name, task, app=app)("an id", [], {}, request)

    endings = [(event.status, event.error_type) for event in recorder.finished]
    assert endings[-2:] == [("retry", name), ("failure", name)]
    assert {error_type for _, error_type in endings} == {name}
    app.close()


def test_celery_changes_the_type() -> None:
    """The test above tests something."""
    assert type(Retry(exc=ERRORS["ServerError"]()).exc) is ProviderError
    assert isinstance(get_pickleable_exception(NoPickle(code=3)), UnpickleableExceptionWrapper)


def test_what_celery_wraps_is_named_after_what_is_inside() -> None:
    assert error_type_of(get_pickleable_exception(NoPickle(code=3))) == "NoPickle"


def test_a_retry_without_a_cause() -> None:
    assert error_type_of(Retry("later")) == "Retry"
    assert error_type_of(Retry("later", exc="text")) == "Retry"  # type: ignore[arg-type]  # Celery takes a text too
