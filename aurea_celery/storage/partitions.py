"""Weekly partitions of ``metrics``, made ahead, with a default one that catches every other date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

WEEK = timedelta(days=7)
WEEKS_AHEAD = 5
ADVISORY_LOCK = 0x617572656101


def week_of(moment: datetime) -> datetime:
    """The Monday, 00:00 UTC, that begins a moment's week.

    >>> week_of(datetime(2026, 11, 25, 12, tzinfo=UTC)).isoformat()
    '2026-11-23T00:00:00+00:00'
    """
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def name_of(week: datetime) -> str:
    """A partition's name, by ISO year and week.

    >>> name_of(datetime(2026, 11, 23, tzinfo=UTC))
    'metrics_p2026w48'
    """
    year, number, _ = week.isocalendar()
    return f"metrics_p{year}w{number:02}"


def ensure(connection: sa.Connection, now: datetime) -> list[str]:
    """Make the partitions of the last week and of those ahead; the names of the new ones.

    A week of which rows are already in the default partition is left there: moving them is maintenance, not writing.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    made = []
    for number in range(-1, WEEKS_AHEAD + 1):
        week = week_of(now) + number * WEEK
        if not _exists(connection, name_of(week)) and not _in_default(connection, week):
            connection.execute(
                sa.text(
                    f"CREATE TABLE {name_of(week)} PARTITION OF metrics"
                    f" FOR VALUES FROM ('{week.isoformat()}') TO ('{(week + WEEK).isoformat()}')"
                )
            )
            made.append(name_of(week))
    return made


def _exists(connection: sa.Connection, name: str) -> bool:
    return connection.scalar(sa.select(sa.func.to_regclass(name))) is not None


def _in_default(connection: sa.Connection, week: datetime) -> bool:
    found = connection.scalar(
        sa.text("SELECT EXISTS (SELECT FROM metrics_default WHERE created_at >= :a AND created_at < :b)"),
        {"a": week, "b": week + WEEK},
    )
    return bool(found)
