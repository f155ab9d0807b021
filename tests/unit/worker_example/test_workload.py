"""The workload is what it says, and the same for the same seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_example.trace import Row
from worker_example.workload import plan, plan_trace

START = datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC)


@given(st.integers(1, 400), st.integers())
def test_so_many_tasks_as_asked_for(tasks: int, seed: int) -> None:
    jobs = plan(tasks, seed)
    assert sum(len(job.asks) for job in jobs) == tasks
    assert len({job.name for job in jobs}) == len(jobs)


@given(st.integers(1, 100), st.integers())
def test_the_same_seed_makes_the_same_jobs(tasks: int, seed: int) -> None:
    assert plan(tasks, seed) == plan(tasks, seed)


def test_another_seed_makes_other_jobs() -> None:
    assert plan(100, 1) != plan(100, 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_default_size_has_everything_to_show(seed: int) -> None:
    jobs = plan(300, seed)
    assert {piece.shape for job in jobs for piece in job.pieces} == {"single", "chain", "group", "chord"}
    asks = [ask for job in jobs for ask in job.asks]
    assert {ask.task for ask in asks} == {"summarise", "extract", "classify", "embed"}
    assert any(ask.overloads for ask in asks)
    assert any(ask.refused for ask in asks)


@given(st.integers(1, 400), st.integers())
def test_nothing_fails_that_another_task_waits_for(tasks: int, seed: int) -> None:
    pieces = [piece for job in plan(tasks, seed) for piece in job.pieces]
    assert not any(ask.refused for piece in pieces if piece.shape in {"chain", "chord"} for ask in piece.asks)
    assert all(len(piece.asks) > 2 for piece in pieces if piece.shape == "chord")


def test_a_trace_is_one_task_per_row_and_one_job_per_minute() -> None:
    rows = [Row(START + timedelta(seconds=20 * number), number, 2 * number) for number in range(6)]
    jobs = plan_trace(rows)
    assert [job.name for job in jobs] == ["2023-11-16 18:15", "2023-11-16 18:16", "2023-11-16 18:17"]
    asks = [ask for job in jobs for ask in job.asks]
    assert [(ask.input_tokens, ask.output_tokens) for ask in asks] == [row[1:] for row in rows]
    assert {ask.executions for ask in asks} == {1}
    assert {ask.task for ask in asks} == {"replay"}


def test_rows_out_of_order_stay_in_one_job_per_minute() -> None:
    rows = [Row(START + timedelta(minutes=minute), 1, 1) for minute in (0, 1, 0)]
    assert [len(job.asks) for job in plan_trace(rows)] == [2, 1]
