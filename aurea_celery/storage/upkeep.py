"""Upkeep of the tables, beside writers and readers: partitions are made, emptied and dropped, hours condensed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage import partitions, retention, rollups
from aurea_celery.storage.condensed import condense, forget_what_is_made_of_nothing
from aurea_celery.storage.database import check_schema, create_engine, translating
from aurea_celery.storage.database_clock import check_clocks, database_now
from aurea_celery.storage.locks import patiently
from aurea_celery.storage.retention import Dropped


class Maintenance(Struct, frozen=True, kw_only=True):
    """The partitions that were made, how many rows went into which from the default one, and how many remain there.

    ``condensed`` are the hours that were over, and got sums of their own.
    """

    made: list[str]
    moved: dict[str, int]
    left: int
    condensed: int


class Pruning(Struct, frozen=True, kw_only=True):
    """What was dropped, or would be: all rows from before ``before``, by partition, the oldest first."""

    before: datetime
    dropped: list[Dropped]

    @property
    def rows(self) -> int:
        """How many."""
        return sum(one.rows for one in self.dropped)

    @property
    def bytes(self) -> int:
        """Of their tables and indexes."""
        return sum(one.bytes for one in self.dropped)


def maintain(url: str) -> Maintenance:
    """Make partitions ahead, move rows out of the default one, a week in each transaction, and condense hours.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer, or somebody holds the table; what was done stays done.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with _checked(url) as engine:
        now = patiently(engine, database_now)
        made = patiently(engine, lambda connection: partitions.ensure(connection, now))
        weeks = patiently(engine, lambda connection: partitions.weeks_in_default(connection, now))
        moved = {
            partitions.name_of(week): patiently(engine, functools.partial(partitions.move_out_of_default, week=week))
            for week in weeks
        }
        left = patiently(engine, partitions.count_default)
        return Maintenance(made=made, moved=moved, left=left, condensed=condense(engine))


def prune(url: str, older_than: timedelta, *, dry_run: bool = False) -> Pruning:
    """Drop rows that are older, a whole week in each transaction; their sums stay. With ``dry_run`` only look.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer, or somebody holds the table; what was dropped is dropped.
        SchemaMismatch: If the tables are missing, older or newer.
        ClocksDiffer: If the clocks of this host and of the database do not agree; nothing was dropped.
    """
    of_week = retention.look_at_week if dry_run else retention.drop_week
    of_default = retention.look_at_default if dry_run else retention.drop_from_default
    with _checked(url) as engine:
        before = patiently(engine, functools.partial(_first_kept, older_than=older_than))
        weeks = patiently(engine, lambda connection: retention.weeks_before(connection, before))
        found = [patiently(engine, functools.partial(of_week, week=week)) for week in weeks]
        dropped = [one for one in found if one is not None]
        strays = patiently(engine, lambda connection: of_default(connection, before))
        return Pruning(before=before, dropped=[*dropped, strays] if strays.rows else dropped)


def _first_kept(connection: sa.Connection, older_than: timedelta) -> datetime:
    check_clocks(connection)
    return retention.first_kept(database_now(connection), older_than)


def rebuild(url: str) -> None:
    """Make every rollup anew from the rows, where they are all there; takes as long as reading them takes.

    The server sums, within its ``work_mem``; nothing is held here.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with _checked(url) as engine:
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            rollups.rebuild(connection)
            forget_what_is_made_of_nothing(connection)
        condense(engine)


@contextlib.contextmanager
def _checked(url: str) -> Iterator[sa.Engine]:
    engine = create_engine(url)
    try:
        with translating(url):
            with engine.connect() as connection:
                check_schema(connection)
            yield engine
    finally:
        engine.dispose()
