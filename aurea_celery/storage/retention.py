"""Retention: rows are dropped with their whole week, and their sums stay (``docs/decisions/0022-retention.md``).

In the transaction that drops rows their sums are added to ``metrics_pruned``. So what the rows there are and what was
dropped come to together is at every moment what the rollups say.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import asdict

from aurea_celery.errors import RowsPruned
from aurea_celery.storage import rollups
from aurea_celery.storage.partitions import WEEK, exists, lock, name_of, week_of, weeks
from aurea_celery.storage.schema import metrics_retention

EARLIEST_ZONE, LATEST_ZONE = timedelta(hours=14), timedelta(hours=12)
"""A month begins so long before it does in UTC (at UTC+14), and runs so long after its end there (at UTC-12)."""

DEFAULT = "metrics_default"


class Dropped(Struct, frozen=True, kw_only=True):
    """One partition's rows that were dropped, or would be; the default one stays itself, and frees no disk."""

    partition: str
    pruned_until: datetime
    rows: int
    bytes: int
    first_at: datetime | None
    last_at: datetime | None


def first_kept(now: datetime, older_than: timedelta) -> datetime:
    """The week from which on rows are kept: the one that the cut falls into, which is not wholly older.

    The rows of the running month are kept, in every time zone: a budget by day or month that is set now counts them.

    >>> first_kept(datetime(2026, 11, 27, tzinfo=UTC), timedelta(days=90)).isoformat()
    '2026-08-24T00:00:00+00:00'
    >>> first_kept(datetime(2026, 11, 27, tzinfo=UTC), timedelta(days=7)).isoformat()
    '2026-10-26T00:00:00+00:00'
    """
    month = (now.astimezone(UTC) - LATEST_ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return week_of(min(now - older_than, month - EARLIEST_ZONE))


def horizon(connection: sa.Connection) -> datetime | None:
    """From which time on all rows are there; None if none was ever dropped."""
    found: datetime | None = connection.scalar(sa.text("SELECT max(pruned_until) FROM metrics_retention"))
    return found


def require_rows_since(connection: sa.Connection, since: datetime | None, what: str) -> None:
    """Make sure that no rows since a time (None: ever) were dropped; ``what`` needs them.

    Raises:
        RowsPruned: If some were.
    """
    pruned_until = horizon(connection)
    if pruned_until is not None and (since is None or since < pruned_until):
        raise RowsPruned(
            f"{what} is not known from before {pruned_until:%Y-%m-%d}, because retention has dropped the rows;"
            " ask from that day on"
        )


def weeks_before(connection: sa.Connection, before: datetime) -> list[datetime]:
    """The weeks with a partition that would be dropped, the oldest first."""
    return [week for week in weeks(connection) if week < before]


def look_at_week(connection: sa.Connection, week: datetime) -> Dropped | None:
    """What dropping a week's partition would drop; None if it is gone."""
    return None if not exists(connection, week) else _look(connection, name_of(week), week + WEEK)


def look_at_default(connection: sa.Connection, before: datetime) -> Dropped:
    """What dropping the default partition's rows from before a time would drop."""
    return _look(connection, DEFAULT, before)


def drop_week(connection: sa.Connection, week: datetime) -> Dropped | None:
    """Drop a week's partition and keep its sums; None if it is gone.

    Its rows are summed while others still read them; only the drop itself needs the whole table, for a moment.
    """
    lock(connection)
    if not exists(connection, week):  # another one was quicker
        return None
    connection.execute(sa.text(f"LOCK TABLE {name_of(week)} IN EXCLUSIVE MODE"))
    dropped = _look(connection, name_of(week), week + WEEK)
    connection.execute(sa.text(rollups.PRUNED.insert(name_of(week))))
    _note(connection, dropped)
    connection.execute(sa.text("LOCK TABLE ONLY metrics IN ACCESS EXCLUSIVE MODE"))
    connection.execute(sa.text(f"DROP TABLE {name_of(week)}"))
    return dropped


def drop_from_default(connection: sa.Connection, before: datetime) -> Dropped:
    """Delete the default partition's rows from before a time, and keep their sums."""
    connection.execute(sa.text(f"LOCK TABLE {DEFAULT} IN EXCLUSIVE MODE"))
    dropped = look_at_default(connection, before)
    if dropped.rows:
        deleted = f"DELETE FROM {DEFAULT} WHERE created_at < :before RETURNING {rollups.SOURCES}"  # noqa: S608 - ours
        carried = rollups.PRUNED.insert("deleted")
        statement = f"WITH deleted AS ({deleted}), carried AS ({carried}) SELECT"
        connection.execute(sa.text(statement), {"before": before})
        _note(connection, dropped)
    return dropped


def _look(connection: sa.Connection, partition: str, until: datetime) -> Dropped:
    size = "0" if partition == DEFAULT else f"pg_total_relation_size('{partition}')"
    found: Any = connection.execute(
        sa.text(
            f"SELECT count(*) AS rows, min(created_at) AS first_at, max(created_at) AS last_at, {size} AS bytes"  # noqa: S608 - ours
            f" FROM {partition} WHERE created_at < :until"
        ),
        {"until": until},
    ).one()
    return Dropped(partition=partition, pruned_until=until, **found._asdict())


def _note(connection: sa.Connection, dropped: Dropped) -> None:
    connection.execute(sa.insert(metrics_retention).values(asdict(dropped)))
