"""``job`` and ``record_usage``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, signals

from aurea_celery import carry_context, job, monitor_task, record_usage
from aurea_celery.capture.context import current_job
from aurea_celery.errors import UsageError
from aurea_celery.events import ModelCall, Usage
from aurea_celery.testing import recording
from tests.support.sinks import RecordingSink


def test_jobs_nest_and_end() -> None:
    with job("outer"):
        with job("inner"):
            assert current_job() == "inner"
        assert current_job() == "outer"
    assert current_job() is None


def test_a_job_ends_when_its_block_fails() -> None:
    with pytest.raises(KeyError), job("failing"):
        raise KeyError
    assert current_job() is None


def test_a_job_is_a_decorator_too() -> None:
    @job("nightly")
    def work() -> str | None:
        return current_job()

    assert [work(), work(), current_job()] == ["nightly", "nightly", None]


def test_a_job_stays_in_its_thread() -> None:
    seen: list[str | None] = []
    with job("mine"):
        thread = threading.Thread(target=lambda: seen.append(current_job()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_calls_are_handed_over_when_they_happen(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def work() -> None:
        record_usage(model="gpt-4", input_tokens=10, output_tokens=5)
        assert len(sink.calls) == 1, "spend must survive a kill in the middle"
        record_usage({"model": "claude-3-opus", "usage": {"input_tokens": 1, "output_tokens": 2}}, provider="anthropic")

    work()

    first, second = sink.last.calls
    assert (first.model, first.usage.input_tokens, first.usage.output_tokens) == ("gpt-4", 10, 5)
    assert (second.model, second.provider, second.usage.token_count) == ("claude-3-opus", "anthropic", 3)


def test_the_given_model_wins_over_the_responses(sink: RecordingSink) -> None:
    @monitor_task("job", "task", "decorated")
    def work() -> None:
        record_usage({"model": "said", "usage": {"total_tokens": 1}}, model="given")
        record_usage({"model": "said", "usage": {"total_tokens": 1}})
        record_usage(total_tokens=1)

    work()

    assert [(call.model, call.response_model) for call in sink.last.calls] == [
        ("given", "said"),
        ("said", "said"),
        ("decorated", None),
    ]


def test_an_own_cost_is_kept_to_the_last_digit(sink: RecordingSink) -> None:
    @monitor_task("job", "task", "gpt-4")
    def work() -> None:
        record_usage(total_tokens=1, cost_usd=0.1)
        record_usage(total_tokens=1, cost_usd="0.000000000123456789")

    work()

    assert [call.cost_usd for call in sink.last.calls] == [Decimal("0.1"), Decimal("0.000000000123456789")]


@pytest.mark.parametrize("counts", [{"input_tokens": -1}, {"total_tokens": True}])
def test_of_counts_that_cannot_be_true_none_is_recorded_and_nothing_raised(
    sink: RecordingSink, counts: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")

    @monitor_task("job", "task")
    def work() -> str:
        record_usage(model="gpt-4", cost_usd="0.5", **counts)  # type: ignore[arg-type]  # wrong on purpose
        return "done"

    assert work() == "done"
    assert sink.last.calls == (ModelCall(usage=Usage(), model="gpt-4", cost_usd=Decimal("0.5")),)


def test_under_our_own_tests_it_is_raised(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def work() -> None:
        record_usage(input_tokens=-1)

    with pytest.raises(UsageError):
        work()


def test_outside_of_an_execution_nothing_happens(sink: RecordingSink) -> None:
    record_usage(model="gpt-4", total_tokens=1)
    assert sink.calls == []


def test_a_threads_spend_is_its_tasks_with_the_context_carried(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def work() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(carry_context(spend), range(1, 101)))

    work()

    assert len(sink.finished) == 1
    assert sink.tokens == sum(range(1, 101))


def test_what_is_recorded_after_the_end_is_a_row_of_its_own(sink: RecordingSink) -> None:
    ended = threading.Event()

    def late() -> None:
        ended.wait(10)
        spend(5)

    @monitor_task("job", "task")
    def work() -> threading.Thread:
        spend(2)
        thread = threading.Thread(target=carry_context(late))
        thread.start()
        return thread

    thread = work()
    ended.set()
    thread.join()

    task, after = sink.finished
    assert [(event.task_name, len(event.calls)) for event in (task, after)] == [
        ("task", 1),
        ("task (after its end)", 1),
    ]
    assert (after.parent_event_id, after.job_id) == (task.event_id, "job")
    assert sink.tokens == 7


def spend(tokens: int) -> None:
    record_usage(model="gpt-4", total_tokens=tokens)


def test_a_job_is_a_decorator_of_coroutines_too() -> None:
    @job("nightly")
    async def work() -> str | None:
        await asyncio.sleep(0)
        return current_job()

    assert asyncio.run(work()) == "nightly"


def test_a_job_refuses_to_decorate_what_runs_outside_of_it() -> None:
    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="cannot decorate a generator"):
        job("nightly")(stream)


def test_spend_in_a_forked_process_is_a_row_of_its_own(sink: RecordingSink) -> None:
    reading, writing = os.pipe()

    @monitor_task("job", "task")
    def work() -> None:
        pid = os.fork()
        if not pid:
            spend(300)
            forked = sink.finished[-1]
            os.write(writing, f"{forked.task_name} {forked.job_id} {sink.tokens}".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        spend(5)

    work()

    assert os.read(reading, 1000).decode() == "task (in a forked process) job 300"
    assert sink.tokens == 5
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("error", "status"), [(SoftTimeLimitExceeded(), "timeout"), (SystemExit(3), "lost"), (KeyError(), "failure")]
)
def test_a_call_inside_a_task_ends_as_the_task_does(sink: RecordingSink, error: BaseException, status: str) -> None:
    @monitor_task("job", "inner")
    def inner() -> None:
        raise error

    @monitor_task("job", "outer")
    def outer() -> None:
        with contextlib.suppress(BaseException):
            inner()

    outer()

    ended = {event.task_name: event for event in (*sink.finished, *sink.aborted)}
    assert (ended["inner"].status, ended["inner"].error_type) == (status, type(error).__name__)


def test_a_call_before_the_decorated_body_is_kept_when_that_tells_more(sink: RecordingSink) -> None:
    app = Celery("unit", broker="memory://", set_as_current=False)

    @app.task(name="unit.work", shared=False)
    @monitor_task("job", "better name")
    def work() -> None:
        """Do nothing."""

    with recording(app) as recorder:
        signals.task_prerun.connect(record_early, weak=False)
        work.apply()
    signals.task_prerun.disconnect(record_early)

    assert recorder.begun[-1].task_name == "better name"
    assert [call.usage.token_count for call in recorder.begun[-1].calls] == [4]
    assert recorder.tokens == 4


def record_early(**_: object) -> None:
    spend(4)
