"""A bomb in every part of ours, one at a time: the host's task comes to the same end as without us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import Celery, current_task, signals
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from aurea_celery import Aurea, job, monitor_task, record_usage
from aurea_celery._guard import fault_counts
from aurea_celery.capture import signals as capture_signals
from aurea_celery.clock import new_event_id

CAPTURE = "aurea_celery.capture"
BOMBS = [
    "aurea_celery.delivery.budgets.BudgetCopy._look",
    f"{CAPTURE}.batches.request_and_job",
    f"{CAPTURE}.context.Execution.__init__",
    f"{CAPTURE}.context.Execution.add_call",
    f"{CAPTURE}.context.Execution.finish",
    f"{CAPTURE}.context.Execution.abort",
    f"{CAPTURE}.jobs.hand_on",
    f"{CAPTURE}.jobs.job_of",
    f"{CAPTURE}.jobs.limited",
    f"{CAPTURE}.jobs.merged_tags",
    f"{CAPTURE}.monitor.count_result",
    f"{CAPTURE}.monitor.current_execution",
    f"{CAPTURE}.monitor.new_event",
    f"{CAPTURE}.recording.call_of",
    f"{CAPTURE}.recording.count_call",
    f"{CAPTURE}.recording.read_part",
    f"{CAPTURE}.results.read_response",
    f"{CAPTURE}.results.read_result",
    f"{CAPTURE}.signals.count_result",
    f"{CAPTURE}.signals.current_execution",
    f"{CAPTURE}.signals.destination_of",
    f"{CAPTURE}.signals.event_of",
    f"{CAPTURE}.signals.now_us",
    f"{CAPTURE}.signals.current_block",
    f"{CAPTURE}.signals.set_current",
    f"{CAPTURE}.selection.Selection.includes",
    f"{CAPTURE}.selection.Selection.samples_out",
    f"{CAPTURE}.selection.Selection.tags_of",
    "aurea_celery.delivery.delivery.Delivery.__init__",
    "aurea_celery.delivery.delivery.Delivery.abort",
    "aurea_celery.delivery.delivery.Delivery.add_call",
    "aurea_celery.delivery.delivery.Delivery.begin",
    "aurea_celery.delivery.delivery.Delivery.budgets_of",
    "aurea_celery.delivery.delivery.Delivery.finish",
    "aurea_celery.delivery.delivery.Delivery.leave_out",
    "aurea_celery.delivery.outbox.Outbox._append",
    "aurea_celery.delivery.outbox.Outbox._alone",
    "aurea_celery.delivery.outbox.encode",
    "aurea_celery.delivery.publisher.Publisher.ensure_running",
    "aurea_celery.settings.Settings.load",
]


class Boom(RuntimeError):
    """A fault of ours."""


class Outcome(NamedTuple):
    """What the host and its users see of a task."""

    state: str | None
    result: str
    raised: str | None
    published: int


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("host", broker="memory://", set_as_current=False)
    app.conf.aurea_outbox_dir = str(tmp_path / "outbox")
    add_tasks(app)
    yield app
    app.close()


def succeed() -> dict[str, Any]:
    record_usage(model="gpt-4", input_tokens=1, output_tokens=1)
    with job("inside"):
        record_usage({"usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    return {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}


@monitor_task("job", model_used="gpt-4", estimate_cost_fn=lambda _model, _tokens: 1 / 0)
def pair() -> tuple[str, int]:
    return monitor_task()(lambda: ("text", 5))()


def fail() -> None:
    record_usage(model="gpt-4", total_tokens=1)
    raise KeyError("host")


def retry() -> None:
    raise current_task.retry(exc=ValueError("host"), countdown=0)


def ignore() -> None:
    raise Ignore


def reject() -> None:
    raise Reject("host")


def soft_limit() -> None:
    raise SoftTimeLimitExceeded(1)


def leave() -> None:
    raise SystemExit(3)


def publish() -> str:
    current_task.app.tasks["host.succeed"].delay()
    return "published"


BODIES: tuple[Callable[[], object], ...] = (succeed, pair, fail, retry, ignore, reject, soft_limit, leave, publish)
ENDINGS = tuple(body.__name__ for body in BODIES)


def add_tasks(app: Celery) -> None:
    """A task for every way to end."""
    for name, body in zip(ENDINGS, BODIES, strict=True):
        app.task(name=f"host.{name}", shared=False)(body)


def run(app: Celery, name: str) -> Outcome:
    """Run a task through Celery's own tracer, as a worker's child does."""
    published: list[str] = []

    def count(**_: Any) -> None:
        published.append(name)

    signals.after_task_publish.connect(count)
    task = app.tasks[f"host.{name}"]
    tracer = build_tracer(task.name, task, app=app)
    task_id = new_event_id()
    request = {"id": task_id, "root_id": task_id, "retries": 0, "delivery_info": {}, "is_eager": False}
    try:
        result, info, _, text = tracer(task_id, [], {}, request)
    except BaseException as error:
        return Outcome(None, "", type(error).__name__, len(published))
    finally:
        signals.after_task_publish.disconnect(count)
    state = info.state if info else "SUCCESS"
    return Outcome(state, f"{text or type(getattr(result, 'exception', result)).__name__}", None, len(published))


@pytest.fixture
def without_us(app: Celery) -> dict[str, Outcome]:
    """The outcomes of every ending without the plugin."""
    capture_signals.disconnect()
    return {name: run(app, name) for name in ENDINGS}


@pytest.mark.parametrize("bomb", ["none", *BOMBS])
def test_a_fault_of_ours_changes_nothing(
    app: Celery, without_us: dict[str, Outcome], bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    fault_counts.clear()
    went_off: list[str] = []

    def explode(*_: Any, **__: Any) -> Any:
        went_off.append(bomb)
        raise Boom

    if bomb != "none":
        monkeypatch.setattr(bomb, explode)
    aurea = Aurea(app, sample_rate=0.999)
    begun = time.monotonic()

    with_us = {name: run(app, name) for name in ENDINGS}

    seconds = time.monotonic() - begun
    monkeypatch.undo()
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    aurea.close()
    assert with_us == without_us
    assert seconds < 5, "a task of the host waited for us"
    assert bool(went_off) == (bomb != "none" and "leave_out" not in bomb), "the bomb is in no path of these tasks"
    assert bool(fault_counts) == bool(went_off), "a fault goes unnoticed"


def test_what_the_host_would_see() -> None:
    """The comparison compares something."""
    app = Celery("host", broker="memory://", set_as_current=False)
    add_tasks(app)
    capture_signals.disconnect()
    outcomes = {name: run(app, name) for name in ENDINGS}
    assert outcomes["leave"] == Outcome(None, "", "SystemExit", 0)
    assert (outcomes["succeed"].state, outcomes["publish"].published) == ("SUCCESS", 1)
    assert [outcomes[name].state for name in ("fail", "retry", "ignore", "reject")] == [
        "FAILURE",
        "RETRY",
        "IGNORED",
        "REJECTED",
    ]
    app.close()
