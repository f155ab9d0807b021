"""What ``aurea report`` tells: what executions spent, in all and line by line, of one job or of a time.

It comes from the rollups where these know it. Only rows know tags, types of errors, and what of a job is in a time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import Percentiles
from aurea_celery.storage.rollups import WASTED as IS_WASTED
from aurea_celery.storage.selection import (
    NAMES,
    Relation,
    Selection,
    sums,
    sums_by_job,
    sums_of_rows,
)
from aurea_celery.storage.spending import ALL, REDELIVERED, WASTED, Spending, spending
from aurea_celery.storage.totals import read_percentiles

By = Literal["job", "task", "model", "status", "error"]
KEYS: dict[By, str] = {"job": "job_id", "task": NAMES["task"], "model": NAMES["model"], "status": NAMES["status"]}
"""What the sums are kept by; types of errors are in rows alone."""

ERROR = {"error_type": "coalesce(error_type, 'none')"}


class Filters(Struct, frozen=True, kw_only=True):
    """Which executions: see :class:`~aurea_celery.storage.selection.Selection`."""

    until: datetime | None = None
    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


class Scope(Filters, frozen=True, kw_only=True):
    """What a report is about: one job or all, since and until when, which executions, by what, and its most lines."""

    job_id: str | None = None
    since: datetime | None = None
    by: By = "task"
    limit: int = 20

    def selection(self) -> Selection:
        """The executions, in full quarters of an hour."""
        filters = {name: getattr(self, name) for name in Filters.__struct_fields__}
        jobs = () if self.job_id is None else (self.job_id,)
        return Selection(since=self.since, jobs=jobs, **filters).in_quarters()


class Line(Struct, frozen=True, kw_only=True):
    """What one job, task or model spent. Percentiles are known of tasks and models, unless the report is about one job.

    What is counted of a model is its calls, and not executions; ``none`` stands for executions without a call.
    """

    name: str
    spent: Spending
    waste: Spending
    p50_latency_ms: float | None
    p95_latency_ms: float | None


class Report(Filters, frozen=True, kw_only=True):
    """What all executions of a scope spent, and the most expensive lines of all ``line_count``.

    ``since`` and ``until`` are widened to full quarters of an hour, for that is how the sums are kept.
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

    @property
    def is_filtered(self) -> bool:
        """Whether it is about some of the executions of its job or time."""
        return bool(self.tasks or self.models or self.providers or self.statuses or self.tags)


def read_report(connection: sa.Connection, scope: Scope) -> Report:
    """The report of a scope, however long its rows take to read.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    selection = scope.selection()
    source = _source(connection, scope, selection)
    total, *rows = connection.execute(sa.text(_statement(scope, source)), source.values | {"rows": scope.limit + 1})
    everything, of_lines = Percentiles(), {}
    if scope.job_id is None:
        everything = read_percentiles(connection, selection).get(None, everything)
        if scope.by in NAMES:
            of_lines = read_percentiles(connection, selection, scope.by, [row.name for row in rows])
    return Report(
        job_id=scope.job_id,
        since=selection.since,
        **{name: getattr(selection, name) for name in Filters.__struct_fields__},
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
    key = KEYS.get(scope.by, "error_type")
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
    """The smallest relation that knows it."""
    if scope.by == "error":
        return sums_of_rows(connection, ERROR, selection)
    if scope.by == "job":
        return sums_by_job(connection, selection)
    return sums(connection, selection, scope.by)
