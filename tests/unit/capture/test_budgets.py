"""What a budget that is used up does to a monitored function, and what it does not do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery, Task

from aurea_celery import AureaError, monitor_task
from aurea_celery.budget import BudgetState
from aurea_celery.capture import budgets, registry, signals
from aurea_celery.capture.selection import Selection
from aurea_celery.errors import BudgetExceeded
from aurea_celery.settings import Settings
from tests.support.sinks import RecordingSink

pytestmark = pytest.mark.clock

EXCEEDED = BudgetState(
    job="nightly",
    task="",
    period="job",
    on_exceed="block",
    usd=Decimal(5),
    job_id="nightly",
    spent_usd=Decimal("5.25"),
)
BUDGET = "--job 'nightly' --period job"
WHY = (
    "job 'nightly' has spent $5.25 of its budget of $5.00 over its life, so that it does not run; "
    f"raise it: aurea budget set {BUDGET} --usd USD, or remove it: aurea budget remove {BUDGET}"
)


class BudgetSink(RecordingSink):
    """A sink that knows states of budgets."""

    states: tuple[BudgetState, ...] = ()

    def budgets_of(self, job_id: str) -> Sequence[BudgetState]:
        """Those of the job, and those of all."""
        return [state for state in self.states if state.job_id in (job_id, "")]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("unit", broker="memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def sink(app: Celery) -> BudgetSink:
    """Where everything goes during a test."""
    found = BudgetSink()
    found.states = (EXCEEDED,)
    destination = registry.Destination(found, Selection(Settings(capture_eager=True)))
    registry.install(app, lambda: destination)
    return found


def changed(**fields: Any) -> BudgetState:
    """The budget, but for some fields."""
    return BudgetState(**({name: getattr(EXCEEDED, name) for name in EXCEEDED.__struct_fields__} | fields))


@monitor_task("nightly", "charge", "gpt-4")
def call() -> str:
    return "ran"


@monitor_task("nightly", "charge", "gpt-4")
async def call_async() -> str:
    return "ran"


@monitor_task("nightly", "charge", "gpt-4")
def items() -> Iterator[str]:
    yield "ran"


@monitor_task("nightly", "charge", "gpt-4")
async def async_items() -> AsyncIterator[str]:
    yield "ran"


async def first() -> str:
    return await anext(async_items())


KINDS: list[Callable[[], str]] = [
    call,
    lambda: asyncio.run(call_async()),
    lambda: next(items()),
    lambda: asyncio.run(first()),
]


@pytest.mark.parametrize("kind", KINDS, ids=["function", "coroutine", "generator", "async generator"])
def test_a_monitored_function_raises_before_it_runs(sink: BudgetSink, kind: Callable[[], str]) -> None:
    with pytest.raises(BudgetExceeded) as raised:
        kind()

    assert str(raised.value) == WHY
    assert isinstance(raised.value, AureaError)
    event = sink.last
    assert (event.status, event.error_type, event.calls) == ("failure", "BudgetExceeded", ())
    sink.states = ()
    assert kind() == "ran"


@pytest.mark.parametrize(
    "state",
    [
        changed(spent_usd=Decimal("4.99")),
        changed(job_id="another"),
        changed(task="charg"),
        changed(task="*.charge"),
        changed(on_exceed="warn"),
        changed(spent_usd=Decimal(1), unpriced_tokens=7),
    ],
)
def test_other_budgets_let_it_run(sink: BudgetSink, state: BudgetState) -> None:
    sink.states = (state,)

    assert call() == "ran"


@pytest.mark.parametrize("state", [changed(job_id="", job=""), changed(task="c*e"), changed(task="charge")])
def test_budgets_of_all_jobs_and_of_its_task_are_its_own(sink: BudgetSink, state: BudgetState) -> None:
    sink.states = (state,)

    with pytest.raises(BudgetExceeded):
        call()


def test_a_warning_is_said_once_and_counted(sink: BudgetSink, caplog: pytest.LogCaptureFixture) -> None:
    before = budgets.over_budget_counts["warn"]
    sink.states = (changed(on_exceed="warn"), changed(job_id="", spent_usd=Decimal(1), unpriced_tokens=7))
    for _ in range(3):
        call()

    assert budgets.over_budget_counts["warn"] == before + 3
    exceeded, unpriced = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "a budget is used up: job 'nightly' has spent $5.25 of its budget of $5.00 over its life" in exceeded
    assert "a budget cannot judge: all jobs have spent $1.00" in unpriced
    assert "7 tokens have no price" in unpriced


def test_a_fault_of_ours_lets_it_run(sink: BudgetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    monkeypatch.setattr(BudgetState, "describe", None)

    assert call() == "ran"


seen: list[str] = []
"""The tasks that a user's ``before_start`` was called for."""


class Base(Task):  # type: ignore[type-arg]  # generic in its type hints, but before Celery 5.7 not when it runs
    """A user's base class with a method of the same name, here one that needs no instance."""

    abstract = True

    @staticmethod
    def before_start(task_id: str, args: Any, kwargs: Any) -> None:
        """Called by Celery just before the body."""
        seen.append(task_id)


def pay() -> str:
    return "paid"


@pytest.mark.parametrize("base", [None, Base])
def test_a_task_fails_before_its_body(app: Celery, sink: BudgetSink, base: Any) -> None:
    signals.connect()
    decorate: Any = app.task(name="shop.pay", base=base, aurea_job="nightly", shared=False)
    decorate(pay)
    for _ in range(2):  # a process may run one worker after another
        budgets.prepare_tasks(app)
    task = app.tasks["shop.pay"]
    seen.clear()

    blocked = task.apply()
    sink.states = ()
    passed = task.apply()

    assert (blocked.state, str(blocked.result)) == ("FAILURE", WHY)
    assert (passed.state, passed.result) == ("SUCCESS", "paid")
    endings = [(event.status, event.error_type) for event in sink.finished]
    assert endings == [("failure", "BudgetExceeded"), ("success", None)]
    assert seen == ([passed.id] if base else [])
