"""What ``aurea report`` tells: what executions spent, in all and line by line, of one job or of a time.

All of it comes from the rollups, but for the jobs of a time: how much of a job falls into it, only its rows know.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import Histogram, latencies, percentile
from aurea_celery.storage.retention import require_rows_since
from aurea_celery.storage.rollups import MEASURES
from aurea_celery.storage.rollups import WASTED as IS_WASTED
from aurea_celery.storage.spending import ALL, REDELIVERED, WASTED, Spending, spending

By = Literal["job", "task", "model"]
KEYS: dict[By, str] = {"job": "job_id", "task": "task_name", "model": "model_used"}
QUARTER_SECONDS = 900


class Scope(Struct, frozen=True, kw_only=True):
    """What a report is about: one job, or all that ended since a time (None: ever), by what, and its most lines."""

    job_id: str | None = None
    since: datetime | None = None
    by: By = "task"
    limit: int = 20


class Line(Struct, frozen=True, kw_only=True):
    """What one job, task or model spent. Percentiles are known of tasks, unless the report is about one job.

    What is counted of a model is its calls, and not executions; ``none`` stands for executions without a call.
    """

    name: str
    spent: Spending
    waste: Spending
    p50_latency_ms: float | None
    p95_latency_ms: float | None


class Report(Struct, frozen=True, kw_only=True):
    """What all executions of a scope spent, and the most expensive lines of all ``line_count``.

    ``since`` is the start of the scope's first quarter of an hour, for that is how the sums are kept.
    """

    job_id: str | None
    since: datetime | None
    by: By
    calls: int
    spent: Spending
    waste: Spending
    redelivered: Spending
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    first_updated: datetime | None
    last_updated: datetime | None
    line_count: int
    lines: list[Line]


def read_report(connection: sa.Connection, scope: Scope) -> Report:
    """The report of a scope, however long its rows take to read.

    Raises:
        RowsPruned: If it is by job and since a time whose rows retention has dropped.
    """
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    since = None if scope.since is None else _start_of_quarter(scope.since)
    if since is not None and scope.by == "job" and scope.job_id is None:
        require_rows_since(connection, since, "what each job has spent since a time")
    total, *rows = connection.execute(
        sa.text(_statement(scope)), {"job_id": scope.job_id, "since": since, "rows": scope.limit + 1}
    )
    histograms = latencies(connection, since) if scope.job_id is None else {}
    everything = sum(histograms.values(), Histogram())
    of_lines = histograms if scope.by == "task" else {}
    return Report(
        job_id=scope.job_id,
        since=since,
        by=scope.by,
        calls=int(total.calls),
        spent=spending(total),
        waste=spending(total, WASTED),
        redelivered=spending(total, REDELIVERED),
        p50_latency_ms=percentile(everything, 50),
        p95_latency_ms=percentile(everything, 95),
        first_updated=total.first_at,
        last_updated=total.last_at,
        line_count=total.groups - 1,
        lines=[_line(row, of_lines.get(row.name, Histogram())) for row in rows],
    )


def _line(row: Any, histogram: Histogram) -> Line:
    return Line(
        name=row.name,
        spent=spending(row, ALL._replace(executions="uses")),
        waste=spending(row, WASTED._replace(executions="wasted_uses")),
        p50_latency_ms=percentile(histogram, 50),
        p95_latency_ms=percentile(histogram, 95),
    )


def _start_of_quarter(time: datetime) -> datetime:
    return datetime.fromtimestamp(time.timestamp() // QUARTER_SECONDS * QUARTER_SECONDS, UTC)


def _statement(scope: Scope) -> str:
    """One statement, so that the total and its lines are of the same moment; the total comes first."""
    key = KEYS[scope.by]
    uses, wasted_uses = "executions", "wasted_executions"
    if scope.by == "model":
        uses, wasted_uses = "calls", f"CASE WHEN {IS_WASTED} THEN calls ELSE 0 END"
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in ("calls", *ALL, *WASTED, *REDELIVERED))
    return (
        f"SELECT {key} AS name, {sums}, sum({uses}) AS uses, sum({wasted_uses}) AS wasted_uses,"  # noqa: S608 - ours
        " min(first_at) AS first_at, max(last_at) AS last_at, count(*) OVER () AS groups"
        f" FROM {_source(scope)} GROUP BY GROUPING SETS ((), ({key}))"
        f" ORDER BY grouping({key}) DESC, sum(cost_estimate) DESC, {key} LIMIT :rows"
    )


def _source(scope: Scope) -> str:
    """The smallest rollup that knows it."""
    if scope.job_id is not None:
        return "metrics_job WHERE job_id = :job_id"
    if scope.by != "job":
        return "metrics_15m" if scope.since is None else "metrics_15m WHERE quarter_at >= :since"
    if scope.since is None:
        return "metrics_jobs"
    sums = ", ".join(f"{expression} AS {name}" for name, expression in MEASURES.items())
    return f"(SELECT job_id, {sums} FROM metrics WHERE created_at >= :since GROUP BY 1) AS one_job"  # noqa: S608 - ours
