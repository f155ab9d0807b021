"""What a monitoring system scrapes: sums of all time, by task and by model, of a bounded number of each.

A name that was seen before others stays apart from them for ever, so that no sum goes backwards because another name
has overtaken it; all that come after the first ones are :data:`OTHER` together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import Histogram
from aurea_celery.storage.rollups import SUMS
from aurea_celery.storage.selection import NAMES, By, Selection, latencies, sums

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


_SUMS = ", ".join(f"sum({name}) AS {name}" for name in SUMS)

_KEPT = sa.text(
    "SELECT (SELECT count(*) FROM metrics_rejected) AS rejected,"
    " (SELECT coalesce(sum(lost), 0) FROM metrics_sources) AS dropped"
)


def read_sums(connection: sa.Connection, most: int = MOST_NAMES) -> tuple[dict[str, TaskSums], dict[str, ModelSums]]:
    """What was spent ever by each task and on each model; ``most`` of each are told apart."""
    by_task: dict[str, list[sa.Row[tuple[object, ...]]]] = {}
    for row in _all_time(connection, "task", most):
        by_task.setdefault(row.name, []).append(row)
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
    by_model: dict[str, list[sa.Row[tuple[object, ...]]]] = {}
    for row in _all_time(connection, "model", most):
        by_model.setdefault(row.name, []).append(row)
    return tasks, {model: _model_sums(parts) for model, parts in by_model.items()}


def read_kept(connection: sa.Connection) -> Kept:
    """How much did not become rows."""
    row = connection.execute(_KEPT).one()
    return Kept(rejected=row.rejected, dropped=int(row.dropped))


def _all_time(connection: sa.Connection, by: By, most: int) -> Sequence[sa.Row[tuple[object, ...]]]:
    """The sums of all time by status of the first ``most`` names, and of all others together."""
    relation = sums(connection, Selection(), by)
    statement = (
        f"WITH sums AS MATERIALIZED (SELECT {NAMES[by]} AS name, status, min(first_at) AS first_at, {_SUMS}"  # noqa: S608 - ours
        f" FROM {relation.sql} GROUP BY 1, 2),"
        " firsts AS (SELECT name, name AS apart FROM sums GROUP BY 1 ORDER BY min(first_at), 1 LIMIT :most)"
        f" SELECT coalesce(apart, :other) AS name, status, {_SUMS} FROM sums LEFT JOIN firsts USING (name)"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return connection.execute(sa.text(statement), relation.values | {"most": most, "other": OTHER}).all()


def _latencies(connection: sa.Connection, tasks: Collection[str]) -> dict[str, Histogram]:
    relation = latencies(connection, Selection(), "task")
    statement = (
        "SELECT CASE WHEN task_name = ANY(:tasks) THEN task_name ELSE :other END AS task, bucket,"  # noqa: S608 - ours
        f" sum(executions) AS executions FROM {relation.sql} GROUP BY 1, 2"
    )
    found: dict[str, Histogram] = {}
    for row in connection.execute(sa.text(statement), relation.values | {"tasks": list(tasks), "other": OTHER}):
        found.setdefault(row.task, Histogram())[row.bucket] = int(row.executions)
    return found


def _model_sums(parts: Iterable[sa.Row[tuple[object, ...]]]) -> ModelSums:
    """Those of all statuses together."""
    rows = list(parts)
    counted = ("calls", "token_count", "input_tokens", "output_tokens", "unpriced_tokens")
    return ModelSums(
        **{name: sum(int(getattr(row, name)) for row in rows) for name in counted},
        cost_usd=sum((row.cost_estimate for row in rows), Decimal(0)),
    )
