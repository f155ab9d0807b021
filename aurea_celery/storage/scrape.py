"""What a monitoring system scrapes: sums of all time, by task and by model, of a bounded number of each.

A name that was seen before others stays apart from them for ever, so that no sum goes backwards because another name
has overtaken it; all that come after the first ones are :data:`OTHER` together.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import Histogram

OTHER = "other"
MOST_NAMES = 100


class TaskSums(Struct, frozen=True, kw_only=True):
    """What a task spent ever; ``executions`` by status, and how many of them took how long."""

    executions: dict[str, int]
    latency_ms: Decimal
    cost_usd: Decimal
    unpriced_tokens: int
    latencies: Histogram


class ModelSums(Struct, frozen=True, kw_only=True):
    """What was spent on a model ever; ``token_count`` counts all tokens, the others what is known apart."""

    calls: int
    token_count: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    unpriced_tokens: int


class Kept(Struct, frozen=True, kw_only=True):
    """How much did not become rows: payloads kept aside, and events that their processes gave up."""

    rejected: int
    dropped: int


_MEASURES = (
    "executions",
    "calls",
    "token_count",
    "input_tokens",
    "output_tokens",
    "unpriced_tokens",
    "latency_ms",
    "cost_estimate",
)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _MEASURES)

# The rollup is read once; what follows works on as many rows as there are combinations.
_ALL_TIME = sa.text(
    "WITH sums AS MATERIALIZED ("  # noqa: S608 - our own names
    f" SELECT task_name, model_used, status, min(first_at) AS first_at, {_SUMS} FROM metrics_15m GROUP BY 1, 2, 3),"
    " tasks AS (SELECT task_name, task_name AS task FROM sums GROUP BY 1 ORDER BY min(first_at), 1 LIMIT :most),"
    " models AS (SELECT model_used, model_used AS model FROM sums GROUP BY 1 ORDER BY min(first_at), 1 LIMIT :most),"
    " named AS (SELECT coalesce(task, :other) AS task, coalesce(model, :other) AS model, sums.*"
    " FROM sums LEFT JOIN tasks USING (task_name) LEFT JOIN models USING (model_used))"
    f" SELECT task, status, model, {_SUMS} FROM named GROUP BY GROUPING SETS ((task, status), (model)) ORDER BY 1, 2, 3"
)
_LATENCIES = sa.text(
    "SELECT CASE WHEN task_name = ANY(:tasks) THEN task_name ELSE :other END AS task, bucket,"
    " sum(executions) AS executions FROM metrics_latency_15m GROUP BY 1, 2"
)
_KEPT = sa.text(
    "SELECT (SELECT count(*) FROM metrics_rejected) AS rejected,"
    " (SELECT coalesce(sum(lost), 0)::bigint FROM metrics_sources) AS dropped"
)


def read_sums(connection: sa.Connection, most: int = MOST_NAMES) -> tuple[dict[str, TaskSums], dict[str, ModelSums]]:
    """What was spent ever by each task and on each model; ``most`` of each are told apart."""
    rows = connection.execute(_ALL_TIME, {"most": most, "other": OTHER}).all()
    by_task: dict[str, list[sa.Row[tuple[object, ...]]]] = {}
    for row in rows:
        if row.task is not None:
            by_task.setdefault(row.task, []).append(row)
    histograms = _latencies(connection, by_task)
    tasks = {
        task: TaskSums(
            executions={row.status: int(row.executions) for row in parts},
            latency_ms=sum((row.latency_ms for row in parts), Decimal(0)),
            cost_usd=sum((row.cost_estimate for row in parts), Decimal(0)),
            unpriced_tokens=sum(int(row.unpriced_tokens) for row in parts),
            latencies=histograms.get(task, Histogram()),
        )
        for task, parts in by_task.items()
    }
    return tasks, {row.model: _model_sums(row) for row in rows if row.model is not None}


def read_kept(connection: sa.Connection) -> Kept:
    """How much did not become rows."""
    row = connection.execute(_KEPT).one()
    return Kept(rejected=row.rejected, dropped=row.dropped)


def _latencies(connection: sa.Connection, tasks: Collection[str]) -> dict[str, Histogram]:
    found: dict[str, Histogram] = {}
    for row in connection.execute(_LATENCIES, {"tasks": list(tasks), "other": OTHER}):
        found.setdefault(row.task, Histogram())[row.bucket] = int(row.executions)
    return found


def _model_sums(row: sa.Row[tuple[object, ...]]) -> ModelSums:
    return ModelSums(
        calls=int(row.calls),
        token_count=int(row.token_count),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cost_usd=row.cost_estimate,
        unpriced_tokens=int(row.unpriced_tokens),
    )
