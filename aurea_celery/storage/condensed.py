"""Sums of whole hours and days by one name at a time: what a long time came to is read from few rows.

An hour is condensed once it is over: its quarters are summed for each task, model and provider, and for all, and so
are those of its day, when no other hour of that waits. Writers only note in ``metrics_uncondensed`` which hours they
add to, and whoever reads takes these in quarters. So an answer is the same whether an hour is condensed or not, and
what comes late is in it at once (``docs/decisions/0030-condensed-sums.md``).
"""

from __future__ import annotations

import functools
import time
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from aurea_celery.storage.database import is_data_error
from aurea_celery.storage.database_clock import clocks_agree, database_now
from aurea_celery.storage.locks import ATTEMPTS, patiently
from aurea_celery.storage.rollups import MEASURES
from aurea_celery.storage.spans import Span, Stretch, start_of

TABLES: dict[Span, str] = {"hour": "metrics_1h", "day": "metrics_1d"}
NAMES = {"all": "''", "task": "task_name", "model": "model_used", "provider": "provider_name"}
"""The dimensions, and what a row of the sums per quarter is called in each."""

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS_ARE_KEPT = timedelta(days=100)
"""Days are kept for ever; hours are many, and hardly a chart by the hour is longer."""

_KEY = "starts_at, dimension, name, status"
_HISTOGRAM = ("buckets", "bucket_executions")
_EACH_NAME = ", ".join(f"('{dimension}', {name})" for dimension, name in NAMES.items())
_NAMED = f"CROSS JOIN LATERAL (VALUES {_EACH_NAME}) AS named (dimension, name)"
_EVERY_DIMENSION = f"dimension IN ({', '.join(map(repr, NAMES))})"  # for the index, which begins with it


def latencies_of(span: Span) -> str:
    """The histograms of hours or days, a row for each bucket: what stands after FROM."""
    return (
        "(SELECT dimension, starts_at, name, status, bucket, counted AS executions"  # noqa: S608 - our own names
        f" FROM {TABLES[span]}, unnest(buckets, bucket_executions) AS histogram (bucket, counted)) AS counts"
    )


def hours_from(now: datetime) -> datetime:
    """From when on hours can be asked for; they are kept a day longer, for who asked just before that."""
    return start_of("day", now) - HOURS_ARE_KEPT


def changed_in(connection: sa.Connection, stretch: Stretch) -> Stretch | None:
    """From the first to the last hour in a stretch that is not condensed; None if all are."""
    found = connection.execute(_CHANGED, stretch._asdict()).one()
    return Stretch(found.since, found.until) if found.since else None


def hours_over(connection: sa.Connection, now: datetime) -> list[datetime]:
    """The hours that are over and not condensed, the oldest first."""
    return list(connection.scalars(_OVER, {"until": start_of("hour", now)}))


class _Due(NamedTuple):
    """The hours that are over, from when on hours are kept, and whether those of before may be deleted."""

    hours: list[datetime]
    kept_from: datetime
    may_forget: bool


def condense(
    engine: sa.Engine,
    now: datetime | None = None,
    *,
    most_seconds: float = float("inf"),
    attempts: int = ATTEMPTS,
) -> int:
    """Condense the hours that are over, the oldest first, each in a transaction of its own; how many.

    Writers wait for each as long as summing an hour takes, or a day. An hour whose sums do not fit stays in quarters.
    What is over and what is too old is said by the database's clock, unless a time is given.

    Raises:
        DatabaseUnavailable: If a writer's transaction stays open, or somebody locks the tables; what was done stays.
    """
    until = time.monotonic() + most_seconds
    due = patiently(engine, functools.partial(_due, now=now), attempts)
    condensed = 0
    for hour in due.hours:
        try:
            condensed += patiently(engine, functools.partial(_condense, hour=hour, due=due), attempts)
        except DBAPIError as error:
            if not is_data_error(error):
                raise
        if time.monotonic() > until:
            break
    return condensed


def count_differences(connection: sa.Connection, now: datetime) -> dict[str, int]:
    """By table, how many sums differ from what they are made of."""
    kept_from: dict[Span, datetime | None] = {"hour": hours_from(now), "day": None}
    return {
        TABLES[span]: int(connection.scalar(_DIFFERENT[span], {"kept_from": time}) or 0)
        for span, time in kept_from.items()
    }


def forget_what_is_made_of_nothing(connection: sa.Connection) -> None:
    """Delete the sums of which there are no quarters any more."""
    for statement in _OF_NOTHING.values():
        connection.execute(statement)


def _due(connection: sa.Connection, now: datetime | None) -> _Due:
    now = now or database_now(connection)
    return _Due(hours_over(connection, now), hours_from(now) - DAY, clocks_agree(connection))


def _condense(connection: sa.Connection, hour: datetime, due: _Due) -> bool:
    """Condense one hour, and its day if it was the last one; whether nobody else was quicker."""
    # Who has added to the hour has ended then, and is seen; who adds to it later takes it out again.
    connection.execute(sa.text("LOCK TABLE metrics_uncondensed IN EXCLUSIVE MODE"))
    if not connection.execute(_TAKE, {"hour": hour}).rowcount:
        return False
    if hour >= due.kept_from:
        _make(connection, "hour", Stretch(hour, hour + HOUR))
    day = start_of("day", hour)
    if changed_in(connection, Stretch(day, day + DAY)) is None:
        _make(connection, "day", Stretch(day, day + DAY))
        if due.may_forget:
            connection.execute(_FORGET, {"until": due.kept_from})
    return True


def _make(connection: sa.Connection, span: Span, stretch: Stretch) -> None:
    connection.execute(_DELETE[span], {"starts_at": stretch.since})
    connection.execute(_INSERT[span], stretch._asdict())


def _made(span: Span, where: str) -> str:
    """The query that makes the sums of spans anew, from the quarters for which a condition holds."""
    key = f"date_trunc('{span}', quarter_at, 'UTC') AS starts_at, dimension, name, status"
    how = {"first_at": "min", "last_at": "max"}
    measures = ", ".join(f"{how.get(name, 'sum')}({name}) AS {name}" for name in MEASURES)
    sums = f"SELECT {key}, {measures} FROM metrics_15m {_NAMED} WHERE {where} GROUP BY 1, 2, 3, 4"  # noqa: S608 - ours
    counts = (
        f"SELECT {key}, bucket, CAST(sum(executions) AS bigint) AS executions"  # noqa: S608 - our own names
        f" FROM metrics_latency_15m {_NAMED} WHERE {where} GROUP BY 1, 2, 3, 4, 5"
    )
    histograms = (
        f"SELECT {_KEY}, array_agg(bucket ORDER BY bucket) AS buckets,"  # noqa: S608 - our own names
        f" array_agg(executions ORDER BY bucket) AS bucket_executions FROM ({counts}) AS counts GROUP BY 1, 2, 3, 4"
    )
    arrays = ", ".join(f"coalesce({name}, '{{}}') AS {name}" for name in _HISTOGRAM)
    return (
        f"SELECT {_KEY}, {', '.join(MEASURES)}, {arrays}"  # noqa: S608 - our own names
        f" FROM ({sums}) AS sums LEFT JOIN ({histograms}) AS histograms USING ({_KEY})"
    )


def _inserting(span: Span) -> sa.TextClause:
    """In the order of the index, so that the rows of a name's days are near each other."""
    columns = ", ".join((_KEY, *MEASURES, *_HISTOGRAM))
    made = _made(span, "quarter_at >= :since AND quarter_at < :until")
    return sa.text(f"INSERT INTO {TABLES[span]} ({columns}) {made} ORDER BY {_KEY}")


def _differing(span: Span) -> sa.TextClause:
    """A join, which goes to disk where it must."""
    made, kept = (", ".join(f"{side}.{name}" for name in (*MEASURES, *_HISTOGRAM)) for side in ("made", "kept"))
    uncondensed = f"SELECT date_trunc('{span}', hour_at, 'UTC') FROM metrics_uncondensed"  # noqa: S608 - our own names
    where = f"starts_at NOT IN ({uncondensed}) AND (CAST(:kept_from AS timestamptz) IS NULL OR starts_at >= :kept_from)"
    return sa.text(
        f"SELECT count(*) FROM (SELECT * FROM ({_made(span, 'true')}) AS made WHERE {where}) AS made"  # noqa: S608 - ours
        f" FULL JOIN (SELECT * FROM {TABLES[span]} WHERE {where}) AS kept"
        f" USING ({_KEY}) WHERE ROW({made}) IS DISTINCT FROM ROW({kept})"
    )


def _deleting(span: Span, condition: str) -> sa.TextClause:
    return sa.text(f"DELETE FROM {TABLES[span]} WHERE {_EVERY_DIMENSION} AND {condition}")  # noqa: S608 - our own names


_CHANGED = sa.text(
    "SELECT min(hour_at) AS since, max(hour_at) + interval '1 hour' AS until FROM metrics_uncondensed"
    " WHERE (CAST(:since AS timestamptz) IS NULL OR hour_at > CAST(:since AS timestamptz) - interval '1 hour')"
    " AND (CAST(:until AS timestamptz) IS NULL OR hour_at < CAST(:until AS timestamptz))"
)
_OVER = sa.text("SELECT hour_at FROM metrics_uncondensed WHERE hour_at < :until ORDER BY 1")
_TAKE = sa.text("DELETE FROM metrics_uncondensed WHERE hour_at = :hour")
_FORGET = _deleting("hour", "starts_at < :until")
_DELETE = {span: _deleting(span, "starts_at = :starts_at") for span in TABLES}
_OF_NOTHING = {
    span: _deleting(
        span,
        "NOT EXISTS (SELECT FROM metrics_15m"
        f" WHERE quarter_at >= starts_at AND quarter_at < starts_at + interval '1 {span}')",
    )
    for span in TABLES
}
_INSERT = {span: _inserting(span) for span in TABLES}
_DIFFERENT = {span: _differing(span) for span in TABLES}
