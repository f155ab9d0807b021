"""The list of all jobs: by last update, cost or tasks, a page after the other."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.clock import Time
from aurea_celery.storage.schema import metrics_jobs
from aurea_celery.storage.spending import REDELIVERED, WASTED, Spending, plain, priced_share, spending

JobSort = Literal["last_updated", "cost", "tasks"]
COLUMNS: dict[JobSort, sa.Column[Any]] = {
    "last_updated": metrics_jobs.c.last_at,
    "cost": metrics_jobs.c.cost_estimate,
    "tasks": metrics_jobs.c.executions,
}
"""Each has an index with the job's id, so that a page is read from where the last one ended."""


class JobLine(Struct, frozen=True, kw_only=True):
    """A job in the list of all jobs."""

    job_id: str
    task_count: int
    total_tokens: int
    unpriced_tokens: int
    priced_share: Decimal | None
    total_latency_ms: Decimal
    total_cost: Decimal
    first_updated: Time
    last_updated: Time
    waste: Spending
    redelivered: Spending

    def place(self, sort: JobSort) -> Place:
        """Where it stands in the list."""
        values: dict[JobSort, Any] = {
            "last_updated": self.last_updated,
            "cost": self.total_cost,
            "tasks": self.task_count,
        }
        return Place(values[sort], self.job_id)


class Place(NamedTuple):
    """A place in the list: the value that it is sorted by, and the job's id."""

    value: datetime | Decimal | int
    job_id: str


class JobQuery(Struct, frozen=True, kw_only=True):
    """Which jobs: whose id begins with a prefix, last updated within a time; the greatest first, after a place."""

    sort: JobSort = "last_updated"
    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: Place | None = None
    limit: int = 100
    offset: int = 0


def read_jobs(connection: sa.Connection, query: JobQuery) -> list[JobLine]:
    """A page of the jobs."""
    columns, order = metrics_jobs.c, COLUMNS[query.sort]
    conditions = []
    if query.prefix:
        conditions.append(columns.job_id.startswith(query.prefix, autoescape=True))
    if query.since is not None:
        conditions.append(columns.last_at >= query.since)
    if query.until is not None:
        conditions.append(columns.last_at < query.until)
    if query.after is not None:
        conditions.append(sa.tuple_(order, columns.job_id) < sa.tuple_(*query.after))
    statement = sa.select(metrics_jobs).where(*conditions).order_by(order.desc(), columns.job_id.desc())
    return [_line(row) for row in connection.execute(statement.limit(query.limit).offset(query.offset))]


def _line(row: Any) -> JobLine:
    return JobLine(
        job_id=row.job_id,
        task_count=row.executions,
        total_tokens=int(row.token_count),
        unpriced_tokens=int(row.unpriced_tokens),
        priced_share=priced_share(int(row.token_count), int(row.unpriced_tokens)),
        total_latency_ms=plain(row.latency_ms),
        total_cost=plain(row.cost_estimate),
        first_updated=row.first_at,
        last_updated=row.last_at,
        waste=spending(row, WASTED),
        redelivered=spending(row, REDELIVERED),
    )
