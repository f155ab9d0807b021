"""Which executions are recorded, and their tags."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from celery import Celery, Task
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery import job, monitor_task, record_usage
from aurea_celery.capture.selection import Selection
from aurea_celery.clock import new_event_id
from aurea_celery.settings import Settings
from aurea_celery.testing import recording

patterns = st.lists(st.sampled_from(["shop.*", "*.ping", "shop.pay", "b?og.*", "*"]), max_size=3).map(tuple)


@pytest.fixture
def app() -> Celery:
    app = Celery("shop", broker="memory://", set_as_current=False)

    @app.task(name="shop.pay", shared=False, bind=True)
    def pay(self: Task[Any, Any], tokens: int = 0) -> None:
        if tokens:
            record_usage(model="gpt-4", total_tokens=tokens)

    return app


def apply(app: Celery, count: int = 1, **options: Any) -> None:
    for _ in range(count):
        app.tasks["shop.pay"].apply(**options)


@given(include=patterns, exclude=patterns, name=st.sampled_from(["shop.pay", "shop.ping", "blog.post", "other"]))
def test_include_and_exclude_are_shell_patterns(include: tuple[str, ...], exclude: tuple[str, ...], name: str) -> None:
    selection = Selection(Settings(include=include, exclude=exclude))

    wanted = not include or any(fnmatchcase(name, one) for one in include)
    assert selection.includes(name) == (wanted and not any(fnmatchcase(name, one) for one in exclude))


def test_what_is_excluded_is_counted_and_its_spend_is_nobodys(app: Celery) -> None:
    with recording(app, exclude="shop.p*") as recorder:
        apply(app, 3)

    assert recorder.left_out == {"excluded": 3}
    assert recorder.begun == recorder.finished == []


def test_sampling_spares_every_execution_that_called_a_model(app: Celery) -> None:
    with recording(app, sample_rate=0.0) as recorder:
        apply(app, 20)
        apply(app, 5, args=(7,))

    assert recorder.left_out == {"sampled_out": 20}
    assert recorder.tokens == 35
    assert len(recorder.finished) == 5


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_the_sample_is_as_large_as_was_asked_for_and_always_the_same(rate: float) -> None:
    selection = Selection(Settings(sample_rate=rate))
    ids = [new_event_id() for _ in range(4_000)]

    kept = [event_id for event_id in ids if not selection.samples_out(event_id)]

    assert abs(len(kept) / len(ids) - rate) < 0.05  # seven standard deviations
    assert kept == [event_id for event_id in ids if not selection.samples_out(event_id)]


def test_tags_of_the_settings_the_message_and_its_headers(app: Celery) -> None:
    with recording(app, tags={"team": "search", "region": "eu"}, tag_headers=["tenant"]) as recorder:
        apply(app, headers={"tenant": "acme", "aurea_tags": {"region": "us", "priority": 3}, "secret": "no"})
        apply(app)

    tagged, plain = recorder.finished
    assert tagged.tags == {"team": "search", "region": "us", "priority": "3", "tenant": "acme"}
    assert plain.tags == {"team": "search", "region": "eu"}


def test_tags_from_a_function_of_the_task(app: Celery) -> None:
    with recording(app, tags=lambda task: {"retries": task.request.retries}) as recorder:
        apply(app)

    assert recorder.last.tags == {"retries": "0"}


def test_a_function_for_tags_that_fails_costs_its_tags_alone(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")

    with recording(app, tags=lambda _: 1 / 0) as recorder:
        apply(app, args=(5,))

    assert (recorder.last.tags, recorder.tokens) == ({}, 5)


def test_a_monitored_call_has_its_tasks_tags(app: Celery) -> None:
    with recording(app, tags={"team": "search"}) as recorder:
        monitor_task("job", "alone")(lambda: None)()

    assert recorder.last.tags == {"team": "search"}


def test_a_label_instead_of_the_host_name(app: Celery) -> None:
    with recording(app, worker_label="gpu pool") as recorder:
        apply(app)

    assert recorder.last.worker == "gpu pool"


def test_a_task_that_names_its_job(app: Celery) -> None:
    @app.task(name="shop.report", shared=False, aurea_job="reports")
    def report() -> None:
        app.tasks["shop.pay"].apply(args=(1,))
        monitor_task(task_name="inner")(lambda: None)()

    with recording(app) as recorder:
        report.apply()
        with job("named where it is called"):
            report.apply()

    jobs = {(event.task_name, event.job_id) for event in recorder.finished}
    assert ("shop.report", "reports") in jobs
    assert ("inner", "reports") in jobs
    assert ("shop.pay", "reports") in jobs, "what a job's task calls is of its job"
    assert ("shop.report", "named where it is called") in jobs


def test_without_being_asked_nothing_of_an_eager_task_is_recorded(app: Celery) -> None:
    with recording(app, capture_eager=False) as recorder:
        apply(app, args=(5,))

    assert recorder.begun == recorder.finished == []


def test_a_decorator_on_a_tasks_body_names_the_job_before_the_body_runs(app: Celery) -> None:
    begun: list[str] = []

    @app.task(name="shop.report", shared=False, bind=True, autoretry_for=(KeyError,), aurea_job="the task's")
    @monitor_task("the decorator's")
    def report(self: Task[Any, Any]) -> None:
        begun.append(self.name)

    with recording(app) as recorder:
        report.apply(headers={"aurea_job": "the message's"})

    assert [event.job_id for event in recorder.begun] == ["the decorator's"] * len(recorder.begun)
    assert (begun, recorder.last.job_id) == (["shop.report"], "the decorator's")
