"""What a selection of executions comes to: in all, and by task, model, provider or status."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.clock import Time
from aurea_celery.errors import RowsPruned
from aurea_celery.storage.latencies import Percentiles, first_buckets
from aurea_celery.storage.selection import NAMES, By, Relation, Selection, latencies, sums
from aurea_celery.storage.spending import ALL, REDELIVERED, WASTED, Spending, plain, priced_share, spending

FAILED = ("failure", "timeout", "lost", "rejected")
"""The statuses that count as errors: a retry has a next attempt, and revoking is what someone wanted."""

Sort = Literal["cost", "tasks", "tokens", "errors", "waste"]
COLUMNS: dict[Sort, str] = {
    "cost": "cost_estimate",
    "tasks": "executions",
    "tokens": "token_count",
    "errors": "errors",
    "waste": "wasted_cost",
}


class Totals(Struct, frozen=True, kw_only=True):
    """What some executions come to.

    ``calls`` are those of models. ``errors`` are executions that failed, timed out, were lost or rejected, and
    ``error_share`` is their part of all, 0 to 1; None without executions, as averages and percentiles are.
    """

    total_tasks: int
    calls: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    priced_share: Decimal | None
    total_cost: Decimal
    avg_cost: Decimal | None
    total_latency_ms: Decimal
    avg_latency_ms: Decimal | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    errors: int
    error_share: Decimal | None
    waste: Spending
    redelivered: Spending
    first_updated: Time | None
    last_updated: Time | None


def read_totals(connection: sa.Connection, selection: Selection) -> Totals:
    """What all of a selection comes to; it is one in full quarters.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these. So do the others here.
    """
    relation = sums(connection, selection)
    row = connection.execute(sa.text(f"SELECT {_SUMS} FROM {relation.sql}"), relation.values).one()  # noqa: S608 - ours
    return Totals(**_measures(row, read_percentiles(connection, selection).get(None, Percentiles())))


def read_named_totals(
    connection: sa.Connection, selection: Selection, by: By, *, sort: Sort, limit: int, offset: int
) -> dict[str, Totals]:
    """A page of what each name comes to, the greatest first; the selection is one in full quarters."""
    relation = _by_name(sums(connection, selection, by), by)
    statement = (
        f"SELECT name, {_SUMS} FROM {relation.sql} GROUP BY name"  # noqa: S608 - our own names
        f" ORDER BY {COLUMNS[sort]} DESC, name LIMIT :limit OFFSET :offset"
    )
    rows = connection.execute(sa.text(statement), relation.values | {"limit": limit, "offset": offset}).all()
    return _named(connection, selection, by, rows)


def read_totals_of(connection: sa.Connection, selection: Selection, by: By, names: list[str]) -> dict[str, Totals]:
    """What each of some names comes to, if anything; the selection is one in full quarters."""
    relation = _by_name(sums(connection, selection, by), by)
    statement = f"SELECT name, {_SUMS} FROM {relation.sql} WHERE name = ANY(:names) GROUP BY name"  # noqa: S608 - ours
    rows = connection.execute(sa.text(statement), relation.values | {"names": names}).all()
    return _named(connection, selection, by, rows)


def read_percentiles(
    connection: sa.Connection, selection: Selection, by: By | None = None, names: list[str] | None = None
) -> dict[str | None, Percentiles]:
    """The latencies of a selection in full quarters, by name; without ``by`` those of all, under None.

    There are none of a job of which retention has dropped rows.
    """
    try:
        relation = latencies(connection, selection, by)
    except RowsPruned:  # sums per job are kept, and no histograms
        return {}
    name, where, values = "CAST(NULL AS text)", "true", relation.values
    if by is not None:
        name, where, values = NAMES[by], f"{NAMES[by]} = ANY(:names)", values | {"names": names or []}
    histograms = (
        f"SELECT {name} AS name, bucket, sum(executions) AS executions FROM {relation.sql}"  # noqa: S608 - our own names
        f" WHERE {where} GROUP BY 1, 2"
    )
    return {
        row.name: Percentiles.of(row) for row in connection.execute(sa.text(first_buckets(histograms, "name")), values)
    }


def _named(connection: sa.Connection, selection: Selection, by: By, rows: Any) -> dict[str, Totals]:
    percentiles = read_percentiles(connection, selection, by, [row.name for row in rows])
    return {row.name: Totals(**_measures(row, percentiles.get(row.name, Percentiles()))) for row in rows}


def _by_name(relation: Relation, by: By) -> Relation:
    return Relation(f"(SELECT {NAMES[by]} AS name, * FROM {relation.sql}) AS named", relation.values)  # noqa: S608 - ours


_SUMMED = ("calls", "input_tokens", "output_tokens", "latency_ms", *ALL, *WASTED, *REDELIVERED)
_SUMS = (
    ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _SUMMED)
    + f", coalesce(sum(executions) FILTER (WHERE status IN {FAILED}), 0) AS errors"
    + ", min(first_at) AS first_at, max(last_at) AS last_at"
)


def _measures(row: Any, percentiles: Percentiles) -> dict[str, Any]:
    tokens, unpriced = int(row.token_count), int(row.unpriced_tokens)
    return {
        "total_tasks": int(row.executions),
        "calls": int(row.calls),
        "total_tokens": tokens,
        "input_tokens": int(row.input_tokens),
        "output_tokens": int(row.output_tokens),
        "unpriced_tokens": unpriced,
        "priced_share": priced_share(tokens, unpriced),
        "total_cost": plain(row.cost_estimate),
        "avg_cost": _per_execution(row.cost_estimate, row),
        "total_latency_ms": plain(row.latency_ms),
        "avg_latency_ms": _per_execution(row.latency_ms, row),
        **percentiles._asdict(),
        "errors": int(row.errors),
        "error_share": _per_execution(row.errors, row),
        "waste": spending(row, WASTED),
        "redelivered": spending(row, REDELIVERED),
        "first_updated": row.first_at,
        "last_updated": row.last_at,
    }


def _per_execution(sum_: Decimal, row: Any) -> Decimal | None:
    return plain(Decimal(sum_) / row.executions) if row.executions else None
