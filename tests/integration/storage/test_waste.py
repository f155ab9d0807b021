"""What came to nothing: by status, by task, in the list of jobs, in the report and in the rows it is the same sum."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.clock import from_us
from aurea_celery.events import STATUSES, TaskEvent
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import queries
from aurea_celery.storage.job_list import JobLine, JobQuery, read_jobs
from aurea_celery.storage.prices import set_prices
from aurea_celery.storage.report import KEYS, Scope, read_report
from aurea_celery.storage.reprice import Selection, reprice
from aurea_celery.storage.spending import Spending
from tests.support.databases import Databases, connected
from tests.support.events import BASE_US, WEEK_US, events
from tests.support.prices import own_price
from tests.support.recorded import execution, model_call, write

Sums = tuple[int, int, int, Decimal]
NOTHING: Sums = (0, 0, 0, Decimal(0))
NOT_WASTED = {"success", "ignored"}
IS_WASTED = "status IN ('failure', 'retry', 'rejected', 'revoked', 'timeout', 'lost')"
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def sums(spent: Spending) -> Sums:
    return (spent.count, spent.total_tokens, spent.unpriced_tokens, spent.total_cost)


def added(parts: Iterable[Spending]) -> Sums:
    total = NOTHING
    for part in parts:
        count, tokens, unpriced, cost = sums(part)
        total = (total[0] + count, total[1] + tokens, total[2] + unpriced, total[3] + cost)
    return total


def of_rows(connection: sa.Connection, where: str, **values: Any) -> Sums:
    statement = (
        "SELECT coalesce(sum(executions), 0), coalesce(sum(token_count), 0), coalesce(sum(unpriced_tokens), 0),"
        f" coalesce(sum(cost_estimate), 0) FROM metrics WHERE {where}"
    )
    return tuple(connection.execute(sa.text(statement), values).one())


def ended(status: str, *, job_id: str = "job", task_name: str = "t", cost_usd: str = "1", **fields: Any) -> TaskEvent:
    event = execution(job_id, task_name, model_call(cost_usd=cost_usd))
    return msgspec.structs.replace(event, status=status, **fields)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(events(), min_size=1, max_size=12, unique_by=lambda event: event.event_id),
    st.integers(BASE_US - 20 * WEEK_US, BASE_US + 20 * WEEK_US).map(from_us),
)
def test_every_way_to_add_it_up_gives_the_same(databases: Databases, written: list[TaskEvent], since: datetime) -> None:
    with databases.migrated() as url:
        write(url, *written)
        with connected(url) as connection:
            for line in read_jobs(connection, JobQuery(limit=1000)):
                check_job(connection, line)
            for start in (None, since):
                check_reports(connection, start)


def check_job(connection: sa.Connection, line: JobLine) -> None:
    """A job's waste by status, by task, in the list of jobs and in its rows."""
    of_job = {"job_id": line.job_id}
    summary = queries.job_summary(connection, line.job_id)
    assert summary is not None
    rows = of_rows(connection, f"job_id = :job_id AND {IS_WASTED}", **of_job)
    assert sums(summary.waste) == sums(line.waste) == rows
    assert added(summary.waste.by_status.values()) == added(summary.waste.by_task.values()) == rows
    assert summary.waste.by_status.keys() <= set(STATUSES) - NOT_WASTED
    again = of_rows(connection, "job_id = :job_id AND redelivered", **of_job)
    assert sums(summary.redelivered) == sums(line.redelivered) == added(summary.redelivered.by_task.values()) == again
    parts: tuple[Any, ...] = (summary, line, summary.waste, *summary.task_breakdown, *summary.model_usage)
    for part in parts:
        assert (part.priced_share == 1) == (part.unpriced_tokens == 0 < part.total_tokens)
        assert (part.priced_share is None) == (part.total_tokens == 0)
    report = read_report(connection, Scope(job_id=line.job_id, limit=1000))
    assert (sums(report.waste), added(one.waste for one in report.lines)) == (rows, rows)


def check_reports(connection: sa.Connection, since: datetime | None) -> None:
    """The reports of a time, whatever their lines are, and its rows."""
    for by in KEYS:
        report = read_report(connection, Scope(since=since, by=by, limit=1000))
        start = {"start": report.since or EVER}
        rows, wasted = of_rows(connection, "created_at >= :start", **start), f"created_at >= :start AND {IS_WASTED}"
        assert sums(report.spent) == rows
        assert sums(report.waste) == of_rows(connection, wasted, **start)
        assert sums(report.redelivered) == of_rows(connection, "created_at >= :start AND redelivered", **start)
        assert added(line.spent for line in report.lines)[1:] == rows[1:]
        assert added(line.waste for line in report.lines)[1:] == sums(report.waste)[1:]
        counted = sum(line.spent.count for line in report.lines)
        assert counted == (report.calls if by == "model" else report.spent.count)
        assert len(report.lines) == report.line_count
        assert since is None or (
            report.since is not None and timedelta(0) <= since - report.since < timedelta(minutes=15)
        )


def test_waste_is_what_came_to_no_success(database_url: str) -> None:
    write(database_url, *(ended(status) for status in STATUSES))

    with connected(database_url) as connection:
        summary = queries.job_summary(connection, "job")

    assert summary is not None
    assert set(summary.waste.by_status) == set(STATUSES) - NOT_WASTED
    assert (summary.total_cost, summary.waste.total_cost) == (Decimal(8), Decimal(6))


def test_a_lost_execution_is_waste_and_its_redelivery_is_not(database_url: str) -> None:
    write(
        database_url,
        ended("lost", cost_usd="0.7", task_id="one"),
        ended("success", cost_usd="2", task_id="one", redelivered=True),
        ended("lost", task_name="other", cost_usd="0.1", redelivered=True),  # and this is both
    )

    with connected(database_url) as connection:
        summary = queries.job_summary(connection, "job")

    assert summary is not None
    assert (summary.total_cost, summary.waste.total_cost) == (Decimal("2.8"), Decimal("0.8"))
    assert summary.redelivered.total_cost == Decimal("2.1")
    assert list(summary.waste.by_task) == ["t", "other"]
    assert list(summary.redelivered.by_task) == ["t", "other"]


def test_waste_moves_with_repricing(database_url: str) -> None:
    failed = msgspec.structs.replace(execution("job", "t", model_call("house", 1_000_000)), status="failure")
    write(database_url, failed, ended("success"))
    with connected(database_url) as connection:
        before = read_jobs(connection, JobQuery(limit=1))[0].waste
        set_prices(connection, [own_price("house", total="2")])
    reprice(database_url, pricing_of, Selection())
    with connected(database_url) as connection:
        after = read_jobs(connection, JobQuery(limit=1))[0].waste

    assert (before.priced_share, sums(before)) == (Decimal(0), (1, 1_000_000, 1_000_000, Decimal(0)))
    assert (after.priced_share, sums(after)) == (Decimal(1), (1, 1_000_000, 0, Decimal(2)))


@pytest.mark.parametrize("by", list(KEYS))
def test_a_report_reads_rows_only_for_the_jobs_of_a_time(database_url: str, by: Any) -> None:
    write(database_url, ended("success"))
    with connected(database_url) as connection:
        connection.execute(sa.text("DROP TABLE metrics"))

        assert read_report(connection, Scope(by=by)).spent.total_cost == 1
        assert read_report(connection, Scope(by=by, job_id="job")).spent.total_cost == 1
        if by != "job":
            assert read_report(connection, Scope(by=by, since=EVER)).spent.total_cost == 1
