"""What the user's own handlers of a task's signals record belongs to the execution, whenever they were connected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery, signals

from aurea_celery import monitor_task, record_usage
from aurea_celery.testing import Recorder, recording

RESPONSE = {"model": "gpt-4", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}


def plain() -> str:
    """Call no model."""
    return "text"


def respond() -> dict[str, Any]:
    """Call a model, and return what it answered."""
    return {**RESPONSE}


def fail() -> None:
    """Fail."""
    raise ValueError


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("unit", broker="memory://", set_as_current=False)
    app.task(name="unit.plain", shared=False)(plain)
    app.task(name="unit.respond", shared=False)(respond)
    app.task(name="unit.monitored", shared=False)(monitor_task()(respond))
    app.task(name="unit.fail", shared=False)(fail)
    yield app
    app.close()


@pytest.fixture
def recorder(app: Celery) -> Iterator[Recorder]:
    """What is recorded; the plugin's handlers are connected before those of the tests."""
    with recording(app) as recorder:
        yield recorder


@contextmanager
def connected(signal: Any, handler: Callable[..., Any], **how: Any) -> Iterator[None]:
    """Connect a handler for a while."""
    signal.connect(handler, **how)
    try:
        yield
    finally:
        signal.disconnect(handler, sender=how.get("sender"))


def spend(**_: Any) -> None:
    """Call a model in a handler."""
    record_usage(model="gpt-4", input_tokens=5, output_tokens=2)


def record_result(retval: Any = None, result: Any = None, **_: Any) -> None:
    """Record what the task returned, as a handler is given it."""
    record_usage(retval or result)


@pytest.mark.parametrize("name", ["unit.plain", "unit.fail"])
@pytest.mark.parametrize("of_the_sender", [False, True])
def test_a_handler_that_was_connected_later(app: Celery, recorder: Recorder, name: str, of_the_sender: bool) -> None:
    app.tasks[name].apply()
    sender = app.tasks[name] if of_the_sender else None

    with connected(signals.task_postrun, spend, sender=sender):
        for _ in range(2):
            app.tasks[name].apply()

    assert [event.task_name for event in recorder.finished] == [name] * 3
    assert [sum(call.usage.token_count for call in event.calls) for event in recorder.finished] == [0, 7, 7]


def test_what_it_monitors_is_inside_of_the_execution(app: Celery, recorder: Recorder) -> None:
    with connected(signals.task_postrun, monitor_task(task_name="after")(spend)):
        app.tasks["unit.plain"].apply()

    inner, outer = recorder.finished
    assert (inner.task_name, inner.parent_event_id, inner.job_id) == ("after", outer.event_id, outer.job_id)


def test_of_tasks_inside_each_other_each_has_its_own(app: Celery, recorder: Recorder) -> None:
    @app.task(name="unit.outer", shared=False)
    def run_another() -> None:
        app.tasks["unit.plain"].apply()

    with connected(signals.task_postrun, spend):
        app.tasks["unit.outer"].apply()

    assert [(event.task_name, len(event.calls)) for event in recorder.finished] == [
        ("unit.plain", 1),
        ("unit.outer", 1),
    ]


@pytest.mark.parametrize("name", ["unit.respond", "unit.monitored"])
@pytest.mark.parametrize("signal", [signals.task_success, signals.task_postrun], ids=lambda signal: str(signal.name))
def test_a_result_that_a_handler_records_too_counts_once(
    app: Celery, recorder: Recorder, name: str, signal: Any
) -> None:
    with connected(signal, record_result):
        app.tasks[name].apply()

    assert [len(event.calls) for event in recorder.finished] == [1]
    assert recorder.tokens == 10


def test_no_execution_is_lost_while_handlers_come_and_go(app: Celery, recorder: Recorder) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with connected(signals.task_postrun, lambda **_: None, weak=False):
                app.tasks["unit.plain"].apply()

    busy = threading.Thread(target=come_and_go)
    busy.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: app.tasks["unit.plain"].apply(), range(400)))
    stop.set()
    busy.join()

    assert len(recorder.finished) == len(recorder.begun) >= 400
    assert {event.status for event in recorder.finished} == {"success"}
