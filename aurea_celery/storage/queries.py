"""Reading: jobs and their rows. Sums come from the rollups, however many rows there are.

Costs and latencies are exact decimals without trailing zeros; an average has up to 28 digits.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.rollups import ROLLUPS, Rollup
from aurea_celery.storage.schema import metrics, metrics_job, metrics_jobs

Metric = dict[str, Any]
"""One row of ``metrics``: its values by column."""


class TaskSums(Struct, frozen=True, kw_only=True):
    """What one task of a job spent; ``count`` is its executions."""

    task_name: str
    count: int
    total_tokens: int
    unpriced_tokens: int
    total_latency_ms: Decimal
    avg_latency_ms: Decimal
    total_cost: Decimal


class ModelSums(Struct, frozen=True, kw_only=True):
    """What a job spent on one model; ``count`` is the calls of it, or for ``none`` the executions without a call."""

    model: str
    count: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    total_cost: Decimal


class JobSummary(Struct, frozen=True, kw_only=True):
    """What a job spent, in all, by task and by model, the most expensive first; averages are per execution."""

    job_id: str
    total_tasks: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    total_latency_ms: Decimal
    avg_latency_ms: Decimal
    total_cost: Decimal
    avg_cost: Decimal
    first_updated: datetime
    last_updated: datetime
    task_breakdown: list[TaskSums]
    model_usage: list[ModelSums]


class JobLine(Struct, frozen=True, kw_only=True):
    """A job in the list of all jobs."""

    job_id: str
    task_count: int
    total_tokens: int
    unpriced_tokens: int
    total_latency_ms: Decimal
    total_cost: Decimal
    first_updated: datetime
    last_updated: datetime


# One statement, so that the totals and their parts are of the same moment.
_job = metrics_job.c
_BY_TASK, _BY_MODEL, _IN_ALL = 1, 2, 3
_SUMMARY = (
    sa.select(
        sa.func.grouping(_job.task_name, _job.model_used).label("grouped"),
        _job.task_name,
        _job.model_used,
        sa.func.sum(_job.executions).label("executions"),
        # Every row of a model has at least one call and at most one execution; a row of `none` has no call.
        sa.func.sum(sa.func.greatest(_job.calls, _job.executions)).label("uses"),
        *(
            sa.func.sum(_job[name]).label(name)
            for name in ("token_count", "input_tokens", "output_tokens", "unpriced_tokens", "latency_ms")
        ),
        sa.func.sum(_job.cost_estimate).label("cost_estimate"),
        sa.func.min(_job.first_at).label("first_at"),
        sa.func.max(_job.last_at).label("last_at"),
    )
    .where(_job.job_id == sa.bindparam("job_id"))
    .group_by(sa.text("GROUPING SETS ((), (task_name), (model_used))"))
    .order_by(sa.desc("cost_estimate"), _job.task_name, _job.model_used)
)


def job_summary(connection: sa.Connection, job_id: str) -> JobSummary | None:
    """What a job spent; None if nothing is known of it. Reads its rollup, not its rows."""
    rows = connection.execute(_SUMMARY, {"job_id": job_id}).all()
    total = next(row for row in rows if row.grouped == _IN_ALL)
    if total.executions is None:
        return None
    return JobSummary(
        job_id=job_id,
        total_tasks=int(total.executions),
        total_tokens=int(total.token_count),
        input_tokens=int(total.input_tokens),
        output_tokens=int(total.output_tokens),
        unpriced_tokens=int(total.unpriced_tokens),
        total_latency_ms=plain(total.latency_ms),
        avg_latency_ms=plain(total.latency_ms / total.executions),
        total_cost=plain(total.cost_estimate),
        avg_cost=plain(total.cost_estimate / total.executions),
        first_updated=total.first_at,
        last_updated=total.last_at,
        task_breakdown=[_task_sums(row) for row in rows if row.grouped == _BY_TASK],
        model_usage=[_model_sums(row) for row in rows if row.grouped == _BY_MODEL],
    )


def job_details(connection: sa.Connection, job_id: str, limit: int, offset: int) -> list[Metric]:
    """A page of a job's rows, newest first."""
    newest_first = (metrics.c.created_at.desc(), metrics.c.id.desc())
    statement = sa.select(metrics).where(metrics.c.job_id == job_id).order_by(*newest_first)
    return _metrics(connection, statement.limit(limit).offset(offset))


def job_exists(connection: sa.Connection, job_id: str) -> bool:
    """Whether anything is known of a job."""
    return bool(connection.scalar(sa.select(sa.exists().where(metrics_jobs.c.job_id == job_id))))


def event_rows(connection: sa.Connection, event_id: str, created_at: datetime) -> list[Metric]:
    """The rows of one event, one per model."""
    is_it = (metrics.c.created_at == created_at) & (metrics.c.event_id == sa.cast(event_id, sa.Uuid))
    return _metrics(connection, sa.select(metrics).where(is_it).order_by(metrics.c.seq))


def jobs(connection: sa.Connection, limit: int, offset: int) -> list[JobLine]:
    """A page of all jobs, most recently updated first."""
    newest_first = (metrics_jobs.c.last_at.desc(), metrics_jobs.c.job_id.desc())
    rows = connection.execute(sa.select(metrics_jobs).order_by(*newest_first).limit(limit).offset(offset))
    return [
        JobLine(
            job_id=row.job_id,
            task_count=row.executions,
            total_tokens=row.token_count,
            unpriced_tokens=row.unpriced_tokens,
            total_latency_ms=plain(row.latency_ms),
            total_cost=plain(row.cost_estimate),
            first_updated=row.first_at,
            last_updated=row.last_at,
        )
        for row in rows
    ]


def rollup_differences(connection: sa.Connection) -> dict[str, int]:
    """How many sums of each rollup differ from the rows they are made of; empty if all agree. Reads every row."""
    counts = {rollup.table: int(connection.scalar(_difference(rollup)) or 0) for rollup in ROLLUPS}
    return {table: count for table, count in counts.items() if count}


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros.

    >>> plain(Decimal("0.1500")), plain(Decimal("100"))
    (Decimal('0.15'), Decimal('100'))
    """
    text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".")) if "." in text else Decimal(text)


def _difference(rollup: Rollup) -> sa.TextClause:
    """One statement, and so one moment: a writer's rows and sums are both seen or both not yet."""
    return sa.text(
        f"WITH made AS ({rollup.sums('metrics')}),"  # noqa: S608 - our own names
        f" kept AS (SELECT {', '.join(rollup.key | rollup.measures)} FROM {rollup.table})"
        f" SELECT count(DISTINCT ROW({', '.join(rollup.key)}))"
        " FROM ((TABLE made EXCEPT TABLE kept) UNION ALL (TABLE kept EXCEPT TABLE made)) AS different"
    )


def _metrics(connection: sa.Connection, statement: sa.Select[Any]) -> list[Metric]:
    return [
        {name: plain(value) if isinstance(value, Decimal) else value for name, value in row.items()}
        for row in connection.execute(statement).mappings()
    ]


def _task_sums(row: Any) -> TaskSums:
    return TaskSums(
        task_name=row.task_name,
        count=int(row.executions),
        total_tokens=int(row.token_count),
        unpriced_tokens=int(row.unpriced_tokens),
        total_latency_ms=plain(row.latency_ms),
        avg_latency_ms=plain(row.latency_ms / row.executions),
        total_cost=plain(row.cost_estimate),
    )


def _model_sums(row: Any) -> ModelSums:
    return ModelSums(
        model=row.model_used,
        count=int(row.uses),
        total_tokens=int(row.token_count),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        unpriced_tokens=int(row.unpriced_tokens),
        total_cost=plain(row.cost_estimate),
    )
