"""The verdict finds every row that is lost, duplicated or wrong, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from chaos.schedule import MODELS, Call
from chaos.truth import Execution
from chaos.verdict import PRICES, Met, Row, Verdict, judge, judge_books, judge_effort, judge_rejected

PID, PARENT = 20, 10
UNTOUCHED = Met()
TOUCHED = Met(touched={PID})

calls = st.builds(Call, st.sampled_from(MODELS), st.integers(0, 9_000), st.integers(1, 9_000))


@st.composite
def ended_executions(draw: st.DrawFn) -> Execution:
    """One that came to its end."""
    made = draw(st.lists(calls, max_size=4))
    ending = draw(st.sampled_from(["success", "failure", "retry"]))
    number = draw(st.uuids()).hex
    return Execution(number, f"task {number}", "job-1", 0, PID, PARENT, 100.0, False, True, made, len(made), ending)


TEXTS = st.sets(st.text())
truths = st.lists(ended_executions(), min_size=1, max_size=5, unique_by=lambda one: one.execution_id)


def rows_of(execution: Execution, status: str | None = None, count: int | None = None) -> list[Row]:
    """The rows that it should have, counted call by call."""
    made = execution.calls[:count]
    rows = [row_of(execution, status, model, [one for one in made if one.model == model]) for model in MODELS]
    rows = [row for row in rows if row.calls] or [row_of(execution, status, "none", [])]
    return [row._replace(executions=int(place == 0)) for place, row in enumerate(rows)]


def row_of(execution: Execution, status: str | None, model: str, made: Sequence[Call]) -> Row:
    tokens = sum(one.input_tokens + one.output_tokens for one in made)
    price = PRICES.get(model)
    return Row(
        execution_id=execution.execution_id,
        event_id=f"event {execution.execution_id}",
        executions=1,
        task_id=execution.task_id,
        job_id=execution.job_id,
        attempt=execution.attempt,
        status=status or execution.ended_as or "lost",
        model=model,
        calls=len(made),
        input_tokens=sum(one.input_tokens for one in made),
        output_tokens=sum(one.output_tokens for one in made),
        unpriced_tokens=tokens if price is None else 0,
        cost_usd=sum((price.cost(one) for one in made), Decimal(0)) if price is not None else Decimal(0),
    )


def verdict_on(truth: Sequence[Execution], rows: Sequence[Row], met: Met = UNTOUCHED) -> Verdict:
    return judge({one.execution_id: one for one in truth}, rows, met)


def all_rows(truth: Sequence[Execution]) -> list[Row]:
    return [row for one in truth for row in rows_of(one)]


@given(truth=truths, met=st.sampled_from([UNTOUCHED, TOUCHED]))
def test_what_agrees_is_good(truth: list[Execution], met: Met) -> None:
    verdict = verdict_on(truth, all_rows(truth), met)
    assert verdict.is_good, verdict.as_text()
    assert verdict.spent == verdict.written
    assert verdict.executions == len(truth)
    assert "lost 0, duplicated 0, wrong 0" in verdict.as_text()


@given(truth=truths, met=st.sampled_from([UNTOUCHED, TOUCHED]))
def test_an_execution_without_rows_is_lost(truth: list[Execution], met: Met) -> None:
    verdict = verdict_on(truth, all_rows(truth[1:]), met)
    assert len(verdict.lost) == 1
    assert truth[0].execution_id in verdict.lost[0]


@given(truth=truths, data=st.data())
def test_any_row_missing_is_found(truth: list[Execution], data: st.DataObject) -> None:
    rows = all_rows(truth)
    rows.remove(data.draw(st.sampled_from(rows)))
    assert not verdict_on(truth, rows, TOUCHED).is_good


@given(truth=truths, data=st.data())
def test_any_row_twice_is_duplicated(truth: list[Execution], data: st.DataObject) -> None:
    rows = all_rows(truth)
    again = data.draw(st.sampled_from(rows))
    rows.append(again._replace(event_id=data.draw(st.sampled_from([again.event_id, "another"]))))
    assert len(verdict_on(truth, rows, TOUCHED).duplicated) == 1


CHANGES: dict[str, Any] = {
    "execution_id": "nobody's",
    "task_id": "another",
    "job_id": "another",
    "attempt": 7,
    "status": "timeout",
    "model": "gpt-5",
    "calls": 17,
    "input_tokens": 1_000_001,
    "output_tokens": 1_000_001,
    "unpriced_tokens": 1_000_001,
    "cost_usd": Decimal("0.00001"),
}


@given(truth=truths, data=st.data(), name=st.sampled_from(sorted(CHANGES)), met=st.sampled_from([UNTOUCHED, TOUCHED]))
def test_any_row_changed_is_wrong(truth: list[Execution], data: st.DataObject, name: str, met: Met) -> None:
    rows = all_rows(truth)
    place = data.draw(st.integers(0, len(rows) - 1))
    counts = name in ("model", "calls", "input_tokens", "output_tokens", "unpriced_tokens", "cost_usd")
    assume(rows[place].calls or not counts)
    changed = rows[place]._replace(**{name: CHANGES[name]})
    assume(changed != rows[place])
    rows[place] = changed
    assert verdict_on(truth, rows, met).wrong


@given(one=ended_executions())
def test_lost_is_believed_only_of_a_process_that_a_fault_met(one: Execution) -> None:
    rows = rows_of(one, "lost")
    assert not verdict_on([one], rows).is_good
    assert verdict_on([one], rows, Met(touched={PID})).is_good
    assert verdict_on([one], rows, Met(touched={PARENT})).is_good


@given(one=ended_executions(), whole=st.booleans())
def test_the_call_in_which_a_process_died_may_be_there_or_not(one: Execution, whole: bool) -> None:
    assume(one.calls)
    cut = dataclasses.replace(one, ended_as=None, called=len(one.calls) - 1)
    rows = rows_of(cut, "lost", None if whole else cut.called)
    assert verdict_on([cut], rows, TOUCHED).is_good
    assert not verdict_on([cut], rows).is_good, "nothing met it"
    assert not verdict_on([dataclasses.replace(cut, called=len(one.calls))], rows_of(cut, "lost", -1), TOUCHED).is_good


@given(one=ended_executions())
def test_an_execution_that_never_began_may_have_a_row_or_none(one: Execution) -> None:
    prepared = dataclasses.replace(one, begun=False, calls=[], called=0, ended_as=None)
    assert verdict_on([prepared], [], TOUCHED).is_good
    assert verdict_on([prepared], rows_of(prepared), TOUCHED).is_good
    assert not verdict_on([prepared], rows_of(prepared, "success"), TOUCHED).is_good


@given(one=ended_executions())
def test_what_nobody_can_keep_is_told_apart(one: Execution) -> None:
    full = dataclasses.replace(one, disk_is_full=True)
    assert verdict_on([full], [], TOUCHED).unkept == {PID: 1}
    assert verdict_on([full], [], Met(broker_loses=True)).unkept == {PID: 1}
    assert verdict_on([one], [], Met(broker_loses=True)).lost, "it was kept on disk"
    assert verdict_on([full], [], UNTOUCHED).lost, "its process was not killed"
    removed = verdict_on([one], [], Met(removed={PID: 100.0}))
    assert removed.is_good
    assert (removed.removed, removed.silent) == ({PID: 1}, set())
    assert verdict_on([one], [], Met(touched={PARENT}, removed={PID: 100.0})).silent == {PID}
    assert verdict_on([one], [], Met(removed={PID: 98.0})).lost, "its outbox was another one by then"
    assert verdict_on([one], [], Met(removed={PARENT: 100.0})).lost, "another process's outbox"


@given(missing=st.integers(-3, 3), removed=st.integers(0, 3), silent=st.booleans())
def test_books_that_do_not_close_are_found(missing: int, removed: int, silent: bool) -> None:
    verdict = Verdict()
    verdict.removed[PID] = removed
    verdict.silent.update({PID} if silent else ())
    judge_books(verdict, {PID: missing} if missing else {})
    assert verdict.is_good == (missing == removed or (silent and 0 <= missing < removed))


@given(rejected=TEXTS, planted=TEXTS, forgotten=TEXTS)
def test_what_is_rejected_is_what_was_planted(rejected: set[str], planted: set[str], forgotten: set[str]) -> None:
    verdict = Verdict()
    judge_rejected(verdict, rejected, planted, forgotten)
    assert len(verdict.wrong) == len(planted - rejected) + len(rejected - planted - forgotten)


@given(truth=truths)
def test_a_run_in_which_hardly_a_task_ran_shows_nothing(truth: list[Execution]) -> None:
    verdict, executions = Verdict(), {one.execution_id: one for one in truth}
    judge_effort(verdict, executions, len(truth))
    assert verdict.is_good
    judge_effort(verdict, executions, 2 * len(truth))
    assert verdict.wrong == [f"only {len(truth)} of {2 * len(truth)} tasks ever began"]
