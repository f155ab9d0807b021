"""The rollups: sums that change in the transaction that inserts the rows, and can be made anew from them.

Keys are written in order, and tables always in the same order, so that writers never wait for each other in a circle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from aurea_celery.storage.rows import Row
from aurea_celery.storage.schema import metrics_15m, metrics_job, metrics_jobs, metrics_latency_15m

MEASURES = (
    "executions",
    "calls",
    "token_count",
    "input_tokens",
    "output_tokens",
    "unpriced_tokens",
    "latency_ms",
    "cost_estimate",
)
QUARTER_MINUTES = 15
BUCKET_BASE = 1.1
"""Buckets of latency grow by 10 %, so that the middle of one is within 5 % of all it holds (as in DDSketch)."""

SMALLEST_BUCKET = -100


class Rollup(NamedTuple):
    """A table of sums and how a row finds its key there."""

    table: sa.Table
    key_of: Callable[[Row], tuple[Any, ...]]


def quarter_of(moment: datetime) -> datetime:
    """The start of a moment's quarter of an hour."""
    return moment.replace(minute=moment.minute - moment.minute % QUARTER_MINUTES, second=0, microsecond=0)


def bucket_of(latency_ms: Decimal) -> int:
    """The latency histogram's bucket: ``latency_ms`` is in ``(1.1 ** (bucket - 1), 1.1 ** bucket]``.

    >>> bucket_of(Decimal(1)), bucket_of(Decimal(0))
    (0, -100)
    """
    if latency_ms <= 0:
        return SMALLEST_BUCKET
    return max(SMALLEST_BUCKET, math.ceil(math.log(latency_ms, BUCKET_BASE)))


ROLLUPS = (
    Rollup(metrics_job, lambda row: (row.job_id, row.task_name, row.model_used)),
    Rollup(metrics_jobs, lambda row: (row.job_id,)),
    Rollup(metrics_15m, lambda row: (quarter_of(row.created_at), row.task_name, row.model_used, row.status)),
)


def add_rows(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Add rows that were really inserted to every rollup."""
    rows = list(rows)
    for rollup in ROLLUPS:
        _upsert(connection, rollup.table, _sums(rows, rollup.key_of))
    _upsert(connection, metrics_latency_15m, _histogram(rows))


def rebuild(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Make every rollup anew from all rows."""
    for table in (*(rollup.table for rollup in ROLLUPS), metrics_latency_15m):
        connection.execute(sa.delete(table))
    add_rows(connection, rows)


def _sums(rows: list[Row], key_of: Callable[[Row], tuple[Any, ...]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        into = sums.get(key := key_of(row))
        if into is None:
            into = sums[key] = dict.fromkeys(MEASURES, 0) | {"first_at": row.created_at, "last_at": row.created_at}
        for name in MEASURES:
            into[name] += getattr(row, name) or 0
        into["first_at"] = min(into["first_at"], row.created_at)
        into["last_at"] = max(into["last_at"], row.created_at)
    return sums


def _histogram(rows: list[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
    counts: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row.executions:
            key = (quarter_of(row.created_at), row.task_name, bucket_of(row.latency_ms))
            counts.setdefault(key, {"executions": 0})["executions"] += 1
    return counts


def _upsert(connection: sa.Connection, table: sa.Table, sums: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    """Add sums to a table's rows, keys in order."""
    if not sums:
        return
    keys = [column.name for column in table.primary_key]
    values = [
        dict(zip(keys, key, strict=True)) | measures for key, measures in sorted(sums.items(), key=lambda i: i[0])
    ]
    statement = insert(table)
    changes: dict[str, Any] = {}
    for name in values[0].keys() - set(keys):
        current, added = table.c[name], statement.excluded[name]
        combine = {"first_at": sa.func.least, "last_at": sa.func.greatest}.get(name)
        changes[name] = combine(current, added) if combine else current + added
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), values)
