"""What is read equals what a hand count of the rows says, comes from the rollups, and uses the indexes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from aurea_celery.clock import from_us, new_event_id
from aurea_celery.storage import queries, rollups
from aurea_celery.storage.budgets import BudgetKey, set_budget
from aurea_celery.storage.job_list import JobQuery, read_jobs
from aurea_celery.storage.rollups import ROLLUPS, Rollup
from tests.support.databases import connected
from tests.support.recorded import execution, model_call, without_call, write

pytestmark = pytest.mark.clock("a-day")

Query = Callable[[sa.Connection], object]

MODELS = ("gpt-4", "claude-3-haiku", "house-model", "gpt-3.5-turbo")


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    with connected(database_url) as opened:
        yield opened


@pytest.fixture
def mixed_job(database_url: str) -> str:
    """A job with tasks of no, one, several known and unknown models, next to other jobs."""
    chance = random.Random(7)
    events = []
    for number in range(200):
        names = chance.sample(MODELS, chance.randint(0, 3))
        calls = [model_call(name, chance.randint(0, 9999)) for name in names]
        event = execution(
            f"job_{number % 3}", f"task_{number % 4}", *calls, latency_ms=chance.randint(0, 5000), ended_at_us=10**15
        )
        events.append(event if calls else without_call(event))
    write(database_url, *events)
    return "job_0"


def by_hand(connection: sa.Connection, select: str, job_id: str) -> Any:
    return connection.execute(sa.text(f"SELECT {select}"), {"job_id": job_id})


def test_a_summary_is_what_a_count_of_the_rows_says(connection: sa.Connection, mixed_job: str) -> None:
    summary = queries.job_summary(connection, mixed_job)
    rows = by_hand(
        connection,
        "sum(executions), sum(token_count), sum(unpriced_tokens), sum(latency_ms), sum(cost_estimate)"
        " FROM metrics WHERE job_id = :job_id",
        mixed_job,
    ).one()

    assert summary is not None
    total = (summary.total_tasks, summary.total_tokens, summary.unpriced_tokens)
    assert (*total, summary.total_latency_ms, summary.total_cost) == tuple(rows)
    assert summary.unpriced_tokens > 0
    assert summary.avg_latency_ms * summary.total_tasks == pytest.approx(summary.total_latency_ms)
    assert summary.avg_cost * summary.total_tasks == pytest.approx(summary.total_cost)


def test_the_models_of_a_summary_are_what_a_count_of_the_rows_says(connection: sa.Connection, mixed_job: str) -> None:
    summary = queries.job_summary(connection, mixed_job)
    rows = by_hand(
        connection,
        "model_used, count(*), sum(token_count), sum(cost_estimate) FROM metrics WHERE job_id = :job_id GROUP BY 1",
        mixed_job,
    )

    assert summary is not None
    found = {(one.model, one.count, one.total_tokens, one.total_cost) for one in summary.model_usage}
    assert found == {tuple(row) for row in rows}
    assert {"none", *MODELS} == {one.model for one in summary.model_usage}


def test_the_tasks_of_a_summary_are_what_a_count_of_the_rows_says(connection: sa.Connection, mixed_job: str) -> None:
    summary = queries.job_summary(connection, mixed_job)
    rows = by_hand(
        connection,
        "task_name, count(DISTINCT event_id), sum(token_count), sum(cost_estimate), sum(latency_ms)"
        " FROM metrics WHERE job_id = :job_id GROUP BY 1",
        mixed_job,
    )

    assert summary is not None
    found = {
        (one.task_name, one.count, one.total_tokens, one.total_cost, one.total_latency_ms)
        for one in summary.task_breakdown
    }
    assert found == {tuple(row) for row in rows}
    for one in summary.task_breakdown:
        assert one.avg_latency_ms == pytest.approx(one.total_latency_ms / one.count)


def test_the_parts_of_a_summary_add_up_to_its_totals(connection: sa.Connection, mixed_job: str) -> None:
    summary = queries.job_summary(connection, mixed_job)

    assert summary is not None
    assert sum(one.count for one in summary.task_breakdown) == summary.total_tasks
    for parts in (summary.task_breakdown, summary.model_usage):
        assert sum(one.total_tokens for one in parts) == summary.total_tokens
        assert sum(one.unpriced_tokens for one in parts) == summary.unpriced_tokens
        assert sum(one.total_cost for one in parts) == summary.total_cost
        assert [one.total_cost for one in parts] == sorted((one.total_cost for one in parts), reverse=True)


def test_several_calls_of_one_model_in_one_task_are_counted_as_calls(
    connection: sa.Connection, database_url: str
) -> None:
    write(database_url, execution("agent", "loop", model_call(), model_call(), model_call()))

    summary = queries.job_summary(connection, "agent")

    assert summary is not None
    assert summary.total_tasks == 1
    assert [(one.model, one.count) for one in summary.model_usage] == [("gpt-4", 3)]


def test_a_job_nobody_knows_has_no_summary(connection: sa.Connection, mixed_job: str) -> None:
    assert queries.job_summary(connection, "nobody's") is None
    assert not queries.job_exists(connection, "nobody's")
    assert queries.job_exists(connection, mixed_job)


def test_summaries_and_the_list_of_jobs_do_not_touch_the_rows(connection: sa.Connection, mixed_job: str) -> None:
    connection.execute(sa.text("DROP TABLE metrics"))

    assert queries.job_summary(connection, mixed_job) is not None
    assert len(read_jobs(connection, JobQuery(limit=10))) == 3


def test_details_come_newest_first_and_pages_make_the_whole(connection: sa.Connection, database_url: str) -> None:
    moments = [10**15, 10**15 + 86_400 * 10**6 * 400, 10**15, 10**15 + 5]
    write(database_url, *(execution("paged", ended_at_us=moment) for moment in moments * 5))

    whole = queries.job_details(connection, "paged", 1000, 0)
    pages = [row for offset in range(0, 20, 3) for row in queries.job_details(connection, "paged", 3, offset)]

    assert pages == whole
    assert len(whole) == 20
    keys = [(row["created_at"], row["id"]) for row in whole]
    assert keys == sorted(keys, reverse=True)
    assert queries.job_details(connection, "paged", 10, 20) == []


def test_jobs_come_most_recently_updated_first(connection: sa.Connection, database_url: str) -> None:
    write(database_url, *(execution(name, ended_at_us=10**15 + at) for at, name in enumerate("abcab")))

    assert [job.job_id for job in read_jobs(connection, JobQuery(limit=10))] == ["b", "a", "c"]
    assert [job.job_id for job in read_jobs(connection, JobQuery(limit=1, offset=1))] == ["a"]
    assert [job.task_count for job in read_jobs(connection, JobQuery(limit=10))] == [2, 2, 1]


def test_numbers_come_without_trailing_zeros_and_with_every_digit(connection: sa.Connection, database_url: str) -> None:
    costs = ("0.10", "100", "0.0000000000000000000000000000000000012345")
    write(database_url, *(execution("exact", "t", model_call(cost_usd=cost)) for cost in costs))

    summary = queries.job_summary(connection, "exact")

    assert summary is not None
    assert str(summary.total_cost) == "100.1000000000000000000000000000000000012345"
    found = {str(row["cost_estimate"]) for row in queries.job_details(connection, "exact", 3, 0)}
    assert found == {str(Decimal(cost)) for cost in ("0.1", *costs[1:])}


@pytest.fixture
def many_rows(connection: sa.Connection) -> sa.Connection:
    """20,000 rows of 2,000 jobs over 300 days, and their rollups, as the planner sees a table that has grown."""
    row = execution("job_0", "t")
    write(connection.engine.url.render_as_string(hide_password=False), row)
    connection.execute(
        sa.text(
            "INSERT INTO metrics SELECT made.* FROM metrics AS one, generate_series(2, 20000) AS n,"
            " jsonb_populate_record(one::metrics, jsonb_build_object('event_id', gen_random_uuid(), 'id', n,"
            " 'job_id', 'job_' || n % 2000, 'created_at', now() - (n % 300) * interval '1 day')) AS made"
        )
    )
    rollups.rebuild(connection)
    connection.execute(sa.text("ANALYZE"))
    return connection


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (lambda c: queries.job_details(c, "job_7", 100, 0), "job_id_created_at_id_idx"),
        (lambda c: queries.job_summary(c, "job_7"), "metrics_job_pkey"),
        (lambda c: read_jobs(c, JobQuery(limit=100)), "metrics_jobs_last_at_idx"),
        (lambda c: queries.job_exists(c, "job_7"), "Index Only Scan"),
        (lambda c: queries.first_rows(c, {new_event_id(): from_us(10**15)}), "metrics_default_pkey"),
    ],
)
def test_queries_use_their_index(many_rows: sa.Connection, query: Query, index: str) -> None:
    plan: list[str] = []

    def explain(connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plan.extend(line for (line,) in cursor.fetchall())

    sa.event.listen(many_rows, "before_cursor_execute", explain)
    query(many_rows)

    assert any(index in line for line in plan)
    # The partitions of the coming weeks are empty, and cheapest to read whole.
    assert not [line for line in plan if "Seq Scan" in line and "Seq Scan on metrics_p" not in line]


def test_sums_agree_with_their_rows(connection: sa.Connection, mixed_job: str) -> None:
    assert queries.rollup_differences(connection) == {}


@pytest.fixture
def budget_of_each_job(connection: sa.Connection, mixed_job: str) -> None:
    """A budget that all rows count for."""
    set_budget(connection, BudgetKey(job="*", task="", period="job"), Decimal(1))


@pytest.mark.usefixtures("budget_of_each_job")
@pytest.mark.parametrize("rollup", ROLLUPS, ids=lambda rollup: rollup.table)
@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE {table} SET {measure} = {measure} + 1 WHERE ctid = (SELECT min(ctid) FROM {table})",
        "DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})",
    ],
    ids=["wrong", "missing"],
)
def test_a_sum_that_differs_from_its_rows_is_found(connection: sa.Connection, rollup: Rollup, tamper: str) -> None:
    measure = next(iter(rollup.measures))
    connection.execute(sa.text(tamper.format(table=rollup.table, measure=measure)))

    assert queries.rollup_differences(connection) == {rollup.table: 1}


@pytest.mark.usefixtures("budget_of_each_job")
def test_a_row_without_its_sums_is_found_everywhere(connection: sa.Connection) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO metrics SELECT made.* FROM"
            " (SELECT * FROM metrics WHERE seq = 0 AND cost_estimate > 0 LIMIT 1) AS one,"
            " jsonb_populate_record(NULL::metrics, to_jsonb(one) || jsonb_build_object('event_id', gen_random_uuid()))"
            " AS made"
        )
    )

    assert queries.rollup_differences(connection) == {rollup.table: 1 for rollup in ROLLUPS}
