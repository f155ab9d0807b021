"""A measure over time, one series for each of the names that have the most of it.

Points begin where they are told to: whoever asks knows the calendar, and gives the beginnings as times. So a local day
of 23 or 25 hours is one point, as long as points begin at full quarters of an hour.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage.latencies import bucket_ms, first_buckets
from aurea_celery.storage.selection import NAMES, By, Relation, Selection, latencies, sums
from aurea_celery.storage.spending import ALL, WASTED, priced_share
from aurea_celery.storage.totals import FAILED

Measure = Literal[
    "cost",
    "waste",
    "tokens",
    "input_tokens",
    "output_tokens",
    "unpriced_tokens",
    "tasks",
    "calls",
    "errors",
    "error_share",
    "latency_avg",
    "latency_p50",
    "latency_p95",
    "latency_p99",
]
Value = Decimal | float | int | None

_ERRORS = f"coalesce(sum(executions) FILTER (WHERE status IN {FAILED}), 0)"
SUMS: dict[str, str] = {
    "cost": "sum(cost_estimate)",
    "waste": "sum(wasted_cost)",
    "tokens": "sum(token_count)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "unpriced_tokens": "sum(unpriced_tokens)",
    "tasks": "sum(executions)",
    "calls": "sum(calls)",
    "errors": _ERRORS,
}
RATIOS: dict[str, str] = {
    "error_share": f"{_ERRORS} / nullif(sum(executions), 0)",
    "latency_avg": "sum(latency_ms) / nullif(sum(executions), 0)",
}
PERCENTILES: dict[str, str] = {"latency_p50": "p50", "latency_p95": "p95", "latency_p99": "p99"}
MONEY = {"cost": ALL, "waste": WASTED}
"""Whose tokens a measure of money is about."""


class Series(Struct, frozen=True, kw_only=True):
    """A value for each point. Sums are 0 where nothing ran, shares and latencies are not known there.

    Beside each value of a measure of money are the tokens whose cost it does not hold, and the share of the others; see
    :func:`~aurea_celery.storage.spending.priced_share`.
    """

    name: str | None
    values: list[Value]
    unpriced_tokens: list[int] | None = None
    priced_share: list[Decimal | None] | None = None


class Asked(NamedTuple):
    """A measure, by what, and how many series; the selection is one in full quarters."""

    selection: Selection
    measure: Measure
    by: By | None
    most_series: int


def read_series(connection: sa.Connection, asked: Asked, begins: list[datetime]) -> list[Series]:
    """The series of the names with the most of the measure, and one without a name for all others, if there are any.

    Names are ranked by the sum over all points; those of shares and latencies by their executions.
    """
    names = _greatest(connection, asked) if asked.by else []
    shown: list[str | None] = [*names[: asked.most_series]]
    if len(names) > asked.most_series or not asked.by:
        shown.append(None)
    found = {name: _nothing(asked.measure, name, len(begins)) for name in shown}
    for point, name, value, tokens, unpriced_tokens in _points(connection, asked, names[: asked.most_series], begins):
        series, place = found[name], point - 1
        series.values[place] = bucket_ms(value) if asked.measure in PERCENTILES else value
        if series.unpriced_tokens is not None and series.priced_share is not None:
            series.unpriced_tokens[place] = int(unpriced_tokens)
            series.priced_share[place] = priced_share(int(tokens), int(unpriced_tokens))
    return list(found.values())


def _nothing(measure: Measure, name: str | None, points: int) -> Series:
    """The series of a name for which nothing ran."""
    is_money = measure in MONEY
    return Series(
        name=name,
        values=[0 if measure in SUMS else None] * points,
        unpriced_tokens=[0] * points if is_money else None,
        priced_share=[None] * points if is_money else None,
    )


def _greatest(connection: sa.Connection, asked: Asked) -> list[str]:
    """The names with the most, one more than is asked for."""
    relation = sums(connection, asked.selection, asked.by)
    measure = SUMS.get(asked.measure, SUMS["tasks"])
    statement = (
        f"SELECT {NAMES[asked.by or 'task']} AS name FROM {relation.sql}"  # noqa: S608 - our own names
        f" GROUP BY 1 ORDER BY {measure} DESC, 1 LIMIT :names"
    )
    return list(connection.scalars(sa.text(statement), relation.values | {"names": asked.most_series + 1}))


def _points(connection: sa.Connection, asked: Asked, names: list[str], begins: list[datetime]) -> Any:
    """Of each point and name the value, and for money the tokens, and those of them whose cost it does not hold."""
    if asked.measure in PERCENTILES:
        return _percentiles(connection, asked, names, begins)
    relation = sums(connection, asked.selection, asked.by, points=begins)
    values, of = SUMS | RATIOS, MONEY.get(asked.measure, ALL)
    statement = (
        f"SELECT {_keys(asked.by)}, trim_scale({values[asked.measure]}), sum({of.tokens}) AS tokens,"  # noqa: S608 - ours
        f" sum({of.unpriced_tokens}) AS unpriced_tokens FROM {relation.sql} GROUP BY 1, 2"
    )
    return connection.execute(sa.text(statement), _values(relation, names, begins))


def _percentiles(connection: sa.Connection, asked: Asked, names: list[str], begins: list[datetime]) -> Any:
    """For each point and name the first bucket that holds the percentile."""
    relation = latencies(connection, asked.selection, asked.by, points=begins)
    histograms = (
        f"SELECT {_keys(asked.by)}, bucket, sum(executions) AS executions FROM {relation.sql}"  # noqa: S608 - our own names
        " GROUP BY 1, 2, 3"
    )
    firsts = first_buckets(histograms, "point, name")
    statement = f"SELECT point, name, {PERCENTILES[asked.measure]}, NULL, NULL FROM ({firsts}) AS firsts"  # noqa: S608
    return connection.execute(sa.text(statement), _values(relation, names, begins))


def _keys(by: By | None) -> str:
    """The number of the point, from 1, and the name, or null if it is one of the others."""
    point = "width_bucket(quarter_at, CAST(:begins AS timestamptz[])) AS point"
    name = f"CASE WHEN {NAMES[by]} = ANY(:names) THEN {NAMES[by]} END" if by else "CAST(NULL AS text)"
    return f"{point}, {name} AS name"


def _values(relation: Relation, names: list[str], begins: list[datetime]) -> dict[str, Any]:
    return relation.values | {"begins": begins, "names": names}
