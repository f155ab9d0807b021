"""Reading: jobs and their rows. Sums come from the rollups, however many rows there are.

Costs and latencies are exact decimals without trailing zeros; an average has up to 28 digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import asdict

from aurea_celery.clock import Time
from aurea_celery.storage import condensed
from aurea_celery.storage.database_clock import database_now
from aurea_celery.storage.rollups import ROLLUPS, Rollup
from aurea_celery.storage.schema import metrics, metrics_job, metrics_jobs
from aurea_celery.storage.spending import (
    ALL,
    REDELIVERED,
    WASTED,
    Columns,
    Redelivered,
    Spending,
    Waste,
    plain,
    priced_share,
    spending,
)

Metric = dict[str, Any]
"""One row of ``metrics``: its values by column."""


class TaskSums(Struct, frozen=True, kw_only=True):
    """What one task of a job spent; ``count`` is its executions."""

    task_name: str
    count: int
    total_tokens: int
    unpriced_tokens: int
    priced_share: Decimal | None
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
    priced_share: Decimal | None
    total_cost: Decimal


class JobSummary(Struct, frozen=True, kw_only=True):
    """What a job spent, in all, by task and by model, the most expensive first; averages are per execution."""

    job_id: str
    total_tasks: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    priced_share: Decimal | None
    total_latency_ms: Decimal
    avg_latency_ms: Decimal
    total_cost: Decimal
    avg_cost: Decimal
    first_updated: Time
    last_updated: Time
    waste: Waste
    redelivered: Redelivered
    task_breakdown: list[TaskSums]
    model_usage: list[ModelSums]


# One statement, so that the totals and their parts are of the same moment.
_job = metrics_job.c
_BY_TASK, _BY_MODEL, _BY_STATUS, _IN_ALL = 0b011, 0b101, 0b110, 0b111
_SUMMARY = (
    sa.select(
        sa.func.grouping(_job.task_name, _job.model_used, _job.status).label("grouped"),
        _job.task_name,
        _job.model_used,
        _job.status,
        # Every row of a model has at least one call and at most one execution; a row of `none` has no call.
        sa.func.sum(sa.func.greatest(_job.calls, _job.executions)).label("uses"),
        *(
            sa.func.sum(_job[name]).label(name)
            for name in (*ALL, *WASTED, *REDELIVERED, "input_tokens", "output_tokens", "latency_ms")
        ),
        sa.func.min(_job.first_at).label("first_at"),
        sa.func.max(_job.last_at).label("last_at"),
    )
    .where(_job.job_id == sa.bindparam("job_id"))
    .group_by(sa.text("GROUPING SETS ((), (task_name), (model_used), (status))"))
    .order_by(sa.desc("cost_estimate"), _job.task_name, _job.model_used, _job.status)
)


def job_summary(connection: sa.Connection, job_id: str) -> JobSummary | None:
    """What a job spent; None if nothing is known of it. Reads its rollup, not its rows."""
    rows = connection.execute(_SUMMARY, {"job_id": job_id}).all()
    total = next(row for row in rows if row.grouped == _IN_ALL)
    if total.executions is None:
        return None
    by_task = [row for row in rows if row.grouped == _BY_TASK]
    return JobSummary(
        job_id=job_id,
        total_tasks=int(total.executions),
        total_tokens=int(total.token_count),
        input_tokens=int(total.input_tokens),
        output_tokens=int(total.output_tokens),
        unpriced_tokens=int(total.unpriced_tokens),
        priced_share=priced_share(int(total.token_count), int(total.unpriced_tokens)),
        total_latency_ms=plain(total.latency_ms),
        avg_latency_ms=plain(total.latency_ms / total.executions),
        total_cost=plain(total.cost_estimate),
        avg_cost=plain(total.cost_estimate / total.executions),
        first_updated=total.first_at,
        last_updated=total.last_at,
        waste=_waste(total, by_task, [row for row in rows if row.grouped == _BY_STATUS]),
        redelivered=Redelivered(
            **asdict(spending(total, REDELIVERED)), by_task=_by_name(by_task, "task_name", REDELIVERED)
        ),
        task_breakdown=[_task_sums(row) for row in by_task],
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


def first_rows(connection: sa.Connection, events: Mapping[str, datetime]) -> dict[str, Metric]:
    """By the id of each event, of which the time is given, its first row, as far as it is there."""
    ids = sa.cast(sa.literal(list(events), sa.ARRAY(sa.Text)), sa.ARRAY(sa.Uuid))
    times = sa.cast(
        sa.literal(list(events.values()), sa.ARRAY(sa.DateTime(timezone=True))), sa.ARRAY(sa.DateTime(True))
    )
    asked = sa.func.unnest(ids, times).table_valued("event_id", "created_at").render_derived()
    is_it = (metrics.c.created_at == asked.c.created_at) & (metrics.c.event_id == asked.c.event_id)
    rows = _metrics(connection, sa.select(metrics).join(asked, is_it).where(metrics.c.seq == 0))
    return {str(row["event_id"]): row for row in rows}


def rollup_differences(connection: sa.Connection) -> dict[str, int]:
    """How many sums of each rollup differ from what they are made of; empty if all agree. Reads every row."""
    counts = {rollup.table: int(connection.scalar(_difference(rollup)) or 0) for rollup in ROLLUPS}
    counts |= condensed.count_differences(connection, database_now(connection))
    return {table: count for table, count in counts.items() if count}


def _difference(rollup: Rollup) -> sa.TextClause:
    """One statement, and so one moment: a writer's rows and sums are both seen or both not yet.

    A join, which goes to disk where it must; EXCEPT holds all sums in memory.
    """
    made, kept = (", ".join(f"{side}.{name}" for name in rollup.measures) for side in ("made", "kept"))
    return sa.text(
        f"SELECT count(*) FROM ({rollup.made}) AS made FULL JOIN ({rollup.kept}) AS kept"  # noqa: S608 - our own names
        f" USING ({', '.join(rollup.key)}) WHERE ROW({made}) IS DISTINCT FROM ROW({kept})"
    )


def _metrics(connection: sa.Connection, statement: sa.Select[Any]) -> list[Metric]:
    return [
        {name: plain(value) if isinstance(value, Decimal) else value for name, value in row.items()}
        for row in connection.execute(statement).mappings()
    ]


def _task_sums(row: Any) -> TaskSums:
    return TaskSums(
        task_name=row.task_name,
        total_latency_ms=plain(row.latency_ms),
        avg_latency_ms=plain(row.latency_ms / row.executions),
        **asdict(spending(row)),
    )


def _model_sums(row: Any) -> ModelSums:
    return ModelSums(
        model=row.model_used,
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        **asdict(spending(row, ALL._replace(executions="uses"))),
    )


def _waste(total: Any, by_task: list[Any], by_status: list[Any]) -> Waste:
    return Waste(
        **asdict(spending(total, WASTED)),
        by_status=_by_name(by_status, "status", WASTED),
        by_task=_by_name(by_task, "task_name", WASTED),
    )


def _by_name(rows: list[Any], name: str, columns: Columns) -> dict[str, Spending]:
    """The parts of a sum that are there, by name, the most expensive first."""
    parts = {getattr(row, name): spending(row, columns) for row in rows}
    found = [(key, part) for key, part in parts.items() if part.count]
    return dict(sorted(found, key=lambda one: (-one[1].total_cost, one[0])))
