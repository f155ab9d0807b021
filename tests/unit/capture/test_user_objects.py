"""What the user's code can hold in its hands is the same with the plugin as without it."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from celery import Celery, Task, signals
from celery.app.task import Context
from celery.app.trace import build_tracer

from aurea_celery import record_usage
from aurea_celery.capture import main_process, runs
from aurea_celery.capture import signals as capture_signals
from aurea_celery.capture.context import set_current
from aurea_celery.clock import new_event_id
from aurea_celery.testing import Recorder, recording

LOOKS: dict[str, Callable[[Any], Any]] = {
    "vars": lambda one: sorted(vars(one)),
    "repr": repr,
    "dir": dir,
    "copy": lambda one: sorted(vars(copy.copy(one))),
    "deepcopy": lambda one: sorted(vars(copy.deepcopy(one))),
    "pickle": lambda one: sorted(vars(pickle.loads(pickle.dumps(one)))),  # noqa: S301 - our own
    "json": lambda one: json.dumps(vars(one), default=repr, sort_keys=True),
    "equal": lambda one: vars(one) == vars(copy.copy(one)),
}

seen: list[Any] = []
"""What the tasks saw."""


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("unit", broker="memory://", set_as_current=False)

    @app.task(name="unit.look", bind=True, shared=False)
    def look(self: Task[Any, Any], how: str) -> None:
        seen.append(LOOKS[how](self.request))

    @app.task(name="unit.spend", bind=True, shared=False)
    def spend(self: Task[Any, Any], depth: int = 0) -> None:
        if depth:
            self.apply((depth - 1,))
        record_usage(model="gpt-4", input_tokens=depth, output_tokens=1)

    seen.clear()
    runs._runs.clear()
    yield app
    set_current(None)
    main_process._worker_name = None
    app.close()


@pytest.fixture
def recorder(app: Celery) -> Iterator[Recorder]:
    """What is recorded of the app's tasks."""
    with recording(app) as recorder:
        yield recorder


def trace(app: Celery, name: str, *args: Any) -> None:
    """Run a task through Celery's own tracer, as a worker's child does."""
    task = app.tasks[name]
    request = {"id": "an id", "root_id": "an id", "retries": 0, "delivery_info": {}, "is_eager": False}
    build_tracer(task.name, task, app=app)("an id", list(args), {}, request)


@pytest.mark.parametrize("how", LOOKS)
def test_a_request_looks_the_same(app: Celery, how: str) -> None:
    capture_signals.disconnect()
    trace(app, "unit.look", how)
    with recording(app) as recorder:
        trace(app, "unit.look", how)

    assert recorder.last.status == "success"
    assert seen[0] == seen[1]


def test_a_task_and_its_class_look_the_same(app: Celery) -> None:
    task = app.tasks["unit.spend"]
    before = (repr(task), sorted(vars(task)), sorted(vars(type(task))), pickle.dumps(task))

    with recording(app):
        trace(app, "unit.spend")

    assert (repr(task), sorted(vars(task)), sorted(vars(type(task))), pickle.dumps(task)) == before


def test_a_request_that_was_copied_into_another_is_no_run_of_its_own(app: Celery, recorder: Recorder) -> None:
    task = app.tasks["unit.spend"]

    @signals.task_prerun.connect(sender=task)
    def push_another(task: Any = None, **_: Any) -> None:
        task.push_request(shadow="another")  # Celery copies the dictionary of the one below
        task.pop_request()

    trace(app, "unit.spend")

    assert [event.status for event in recorder.finished] == ["success"]


@pytest.mark.parametrize("request_class", [Mock, MagicMock, lambda: Mock(spec=Context), object])
@pytest.mark.parametrize("state", ["SUCCESS", "RETRY", None])
def test_a_stand_in_for_a_request_is_left_alone(
    app: Celery, recorder: Recorder, request_class: Callable[[], Any], state: str | None
) -> None:
    """The guard raises in these tests, and Celery gives back what a handler raised."""
    task = Mock(app=app, request=request_class())
    task.name = "unit.mock"

    answers = signals.task_prerun.send(sender=task, task=task, task_id="an id", args=(), kwargs={})
    answers += signals.task_postrun.send(sender=task, task=task, task_id="an id", retval=Mock(), state=state)

    assert [answer for _, answer in answers if answer is not None] == []
    assert recorder.begun == []


@pytest.mark.parametrize("stand_in", [Mock, MagicMock, lambda: None, lambda: "a name", object])
@pytest.mark.parametrize(
    "signal",
    [
        signals.before_task_publish,
        signals.task_prerun,
        signals.task_postrun,
        signals.task_received,
        signals.task_revoked,
        signals.task_failure,
        signals.worker_init,
    ],
    ids=lambda signal: str(signal.name),
)
@pytest.mark.usefixtures("recorder")
def test_a_signal_that_a_unit_test_sends_is_no_fault(signal: Any, stand_in: Callable[[], Any], app: Celery) -> None:
    one = stand_in()
    for sender in (one, Mock(app=app), app.tasks["unit.spend"]):
        answers = signal.send(
            sender=sender,
            task=one,
            request=one,
            exception=Mock(),
            task_id=one,
            terminated=True,
        )
        answers += signal.send(
            sender=sender, task=sender, request=Mock(app=app), exception=type("WorkerLostError", (Exception,), {})()
        )
        assert [answer for _, answer in answers if isinstance(answer, Exception)] == []


def test_a_kind_of_request_of_somebody_elses_is_recorded(app: Celery, recorder: Recorder) -> None:
    class Unhashable(Context):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # what a class that compares has

    task = app.tasks["unit.spend"]
    for one in (Unhashable(id="first"), Unhashable(id="second")):
        task.request_stack.push(one)
        signals.task_prerun.send(sender=task, task=task)
    for _ in range(2):
        signals.task_postrun.send(sender=task, task=task, state="SUCCESS")
        task.request_stack.pop()

    assert [event.task_id for event in recorder.finished] == ["second", "first"]


def test_runs_inside_of_runs(app: Celery, recorder: Recorder) -> None:
    app.tasks["unit.spend"].apply((3,))

    assert [event.calls[0].usage.input_tokens for event in recorder.finished] == [0, 1, 2, 3]
    assert len(runs._runs) == 0


def test_runs_beside_each_other(app: Celery, recorder: Recorder) -> None:
    together = threading.Barrier(8)

    @app.task(name="unit.together", shared=False)
    def count(number: int) -> None:
        together.wait(10)
        record_usage(model="gpt-4", input_tokens=number, output_tokens=0)
        together.wait(10)

    task = app.tasks["unit.together"]
    threads = [threading.Thread(target=task.apply, args=((number,),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(len(event.calls) for event in recorder.finished) == [1] * 8
    assert sorted(event.calls[0].usage.input_tokens or 0 for event in recorder.finished) == list(range(8))


@pytest.mark.usefixtures("recorder")
def test_a_run_whose_end_never_comes_is_forgotten_with_its_request(app: Celery) -> None:
    task = app.tasks["unit.spend"]
    for _ in range(100):
        task.request_stack.push(Context(id=new_event_id()))
        signals.task_prerun.send(sender=task, task=task)
        task.request_stack.pop()
    gc.collect()

    assert len(runs._runs) == 0
