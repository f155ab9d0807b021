"""What ``aurea report`` tells: what executions spent, in all and line by line, of one job or of a time.

All of it comes from the rollups, but for the jobs of a time: how much of a job falls into it, only its rows know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import Percentiles
from aurea_celery.storage.retention import require_rows_since
from aurea_celery.storage.rollups import MEASURES
from aurea_celery.storage.rollups import WASTED as IS_WASTED
from aurea_celery.storage.selection import NAMES, Relation, Selection, sums
from aurea_celery.storage.spending import ALL, REDELIVERED, WASTED, Spending, spending
from aurea_celery.storage.totals import read_percentiles

By = Literal["job", "task", "model"]
KEYS: dict[By, str] = {"job": "job_id", "task": NAMES["task"], "model": NAMES["model"]}


class Scope(Struct, frozen=True, kw_only=True):
    """What a report is about: one job, or all that ended since a time (None: ever), by what, and its most lines."""

    job_id: str | None = None
    since: datetime | None = None
    by: By = "task"
    limit: int = 20


class Line(Struct, frozen=True, kw_only=True):
    """What one job, task or model spent. Percentiles are known of tasks and models, unless the report is about one job.

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
    jobs = () if scope.job_id is None else (scope.job_id,)
    selection = Selection(since=scope.since, jobs=jobs).in_quarters()
    source = _source(connection, scope, selection)
    total, *rows = connection.execute(sa.text(_statement(scope, source)), source.values | {"rows": scope.limit + 1})
    everything, of_lines = Percentiles(), {}
    if scope.job_id is None:
        everything = read_percentiles(connection, selection).get(None, everything)
        if scope.by != "job":
            of_lines = read_percentiles(connection, selection, scope.by, [row.name for row in rows])
    return Report(
        job_id=scope.job_id,
        since=selection.since,
        by=scope.by,
        calls=int(total.calls),
        spent=spending(total),
        waste=spending(total, WASTED),
        redelivered=spending(total, REDELIVERED),
        p50_latency_ms=everything.p50_latency_ms,
        p95_latency_ms=everything.p95_latency_ms,
        first_updated=total.first_at,
        last_updated=total.last_at,
        line_count=total.groups - 1,
        lines=[_line(row, of_lines.get(row.name, Percentiles())) for row in rows],
    )


def _line(row: Any, percentiles: Percentiles) -> Line:
    return Line(
        name=row.name,
        spent=spending(row, ALL._replace(executions="uses")),
        waste=spending(row, WASTED._replace(executions="wasted_uses")),
        p50_latency_ms=percentiles.p50_latency_ms,
        p95_latency_ms=percentiles.p95_latency_ms,
    )


def _statement(scope: Scope, source: Relation) -> str:
    """One statement, so that the total and its lines are of the same moment; the total comes first."""
    key = KEYS[scope.by]
    uses, wasted_uses = "executions", "wasted_executions"
    if scope.by == "model":
        uses, wasted_uses = "calls", f"CASE WHEN {IS_WASTED} THEN calls ELSE 0 END"
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in ("calls", *ALL, *WASTED, *REDELIVERED))
    return (
        f"SELECT {key} AS name, {sums}, sum({uses}) AS uses, sum({wasted_uses}) AS wasted_uses,"  # noqa: S608 - ours
        " min(first_at) AS first_at, max(last_at) AS last_at, count(*) OVER () AS groups"
        f" FROM {source.sql} GROUP BY GROUPING SETS ((), ({key}))"
        f" ORDER BY grouping({key}) DESC, sum(cost_estimate) DESC, {key} LIMIT :rows"
    )


def _source(connection: sa.Connection, scope: Scope, selection: Selection) -> Relation:
    """The smallest rollup that knows it; how much of each job falls into a time, only its rows know."""
    if scope.by != "job":
        return sums(connection, selection, scope.by)
    if scope.job_id is not None:
        return sums(connection, selection)
    if selection.since is None:
        return Relation("metrics_jobs", {})
    require_rows_since(connection, selection.since, "what each job has spent since a time")
    measures = ", ".join(f"{expression} AS {name}" for name, expression in MEASURES.items())
    rows = f"SELECT job_id, {measures} FROM metrics WHERE created_at >= :since GROUP BY 1"  # noqa: S608 - our own names
    return Relation(f"({rows}) AS of_jobs", {"since": selection.since})
