"""Weekly partitions of ``metrics``, made ahead, with a default one that catches every other date.

Rows in the default partition are found like all others, but cannot be dropped with their week, and keep it from having
a partition: maintenance moves them into one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from aurea_celery.storage.schema import metrics

WEEK = timedelta(days=7)
WEEKS_AHEAD = 5
WEEKS_BACK = 520
"""Ten years; a clock that goes wrong by more does not get partitions of its own."""

ADVISORY_LOCK = 0x617572656101
NAME = re.compile(r"metrics_p(\d{4})w(\d\d)")
COLUMNS = ", ".join(column.name for column in metrics.columns)

_PARTITIONS = sa.text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass('metrics')"
)

# Not to_regclass of the name itself: while we waited for the lock, what the session remembers has become old.
_EXISTS = sa.text(
    "SELECT EXISTS (SELECT FROM pg_class WHERE relname = :name"
    " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('metrics')))"
)


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


def lock(connection: sa.Connection) -> None:
    """Be the only one to make or drop partitions, until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def exists(connection: sa.Connection, week: datetime) -> bool:
    """Whether there is a table of a week's name."""
    return bool(connection.scalar(_EXISTS, {"name": name_of(week)}))


def weeks(connection: sa.Connection) -> list[datetime]:
    """The weeks that have a partition, the oldest first."""
    names = map(NAME.fullmatch, connection.scalars(_PARTITIONS))
    found = [datetime.fromisocalendar(int(name[1]), int(name[2]), 1) for name in names if name]
    return sorted(week.replace(tzinfo=UTC) for week in found)


def ensure(connection: sa.Connection, now: datetime) -> list[str]:
    """Make the partitions of the last week and of those ahead; the names of the new ones.

    A week of which rows are already in the default partition is left there: moving them is maintenance, not writing.
    """
    lock(connection)
    made = []
    for number in range(-1, WEEKS_AHEAD + 1):
        week = week_of(now) + number * WEEK
        if not exists(connection, week) and not _in_default(connection, week):
            _create(connection, week)
            _attach(connection, week)
            made.append(name_of(week))
    return made


def count_default(connection: sa.Connection) -> int:
    """How many rows are in the default partition."""
    return int(connection.scalar(sa.text("SELECT count(*) FROM metrics_default")) or 0)


def made_until(connection: sa.Connection, now: datetime) -> datetime:
    """Until when every week from now on has its partition."""
    with_partition = set(weeks(connection))
    week = week_of(now)
    while week in with_partition:
        week += WEEK
    return week


def weeks_in_default(connection: sa.Connection, now: datetime) -> list[datetime]:
    """The weeks of the rows in the default partition that can be moved; not those of clocks that are quite wrong."""
    found = connection.scalars(
        sa.text(
            "SELECT DISTINCT date_trunc('week', created_at, 'UTC') FROM metrics_default"
            " WHERE created_at >= :since AND created_at < :until ORDER BY 1"
        ),
        {"since": week_of(now) - WEEKS_BACK * WEEK, "until": week_of(now) + (WEEKS_AHEAD + 1) * WEEK},
    )
    return [week for week in found if not exists(connection, week)]


def move_out_of_default(connection: sa.Connection, week: datetime) -> int:
    """Make the partition of a week and move its rows there; how many.

    Writers wait meanwhile: one that had begun, and waited for the default partition, would keep us from the end.
    Readers wait at the end: who came with the old list of partitions, and then saw rows gone, would miss them.
    """
    lock(connection)
    if exists(connection, week):  # another one was quicker
        return 0
    connection.execute(sa.text("LOCK TABLE ONLY metrics IN EXCLUSIVE MODE"))
    _create(connection, week)
    moved = connection.execute(
        sa.text(
            "WITH moved AS (DELETE FROM metrics_default WHERE created_at >= :a AND created_at < :b"  # noqa: S608 - ours
            f" RETURNING {COLUMNS}) INSERT INTO {name_of(week)} ({COLUMNS}) SELECT {COLUMNS} FROM moved"
        ),
        {"a": week, "b": week + WEEK},
    )
    connection.execute(sa.text("LOCK TABLE ONLY metrics IN ACCESS EXCLUSIVE MODE"))
    _attach(connection, week)
    return moved.rowcount


# Made apart and then attached: writers need not wait, as they would for CREATE TABLE ... PARTITION OF.
def _create(connection: sa.Connection, week: datetime) -> None:
    connection.execute(sa.text(f"CREATE TABLE {name_of(week)} (LIKE metrics INCLUDING ALL EXCLUDING COMMENTS)"))


def _attach(connection: sa.Connection, week: datetime) -> None:
    bounds = f"FROM ('{week.isoformat()}') TO ('{(week + WEEK).isoformat()}')"
    connection.execute(sa.text(f"ALTER TABLE metrics ATTACH PARTITION {name_of(week)} FOR VALUES {bounds}"))


def _in_default(connection: sa.Connection, week: datetime) -> bool:
    found = connection.scalar(
        sa.text("SELECT EXISTS (SELECT FROM metrics_default WHERE created_at >= :a AND created_at < :b)"),
        {"a": week, "b": week + WEEK},
    )
    return bool(found)
