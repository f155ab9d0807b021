"""What a writer does now and then before it writes a batch: it looks after the tables, and condenses hours."""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from aurea_celery.errors import ClocksDiffer, DatabaseUnavailable
from aurea_celery.storage import partitions
from aurea_celery.storage.condensed import condense
from aurea_celery.storage.database import check_schema, is_privilege_error
from aurea_celery.storage.database_clock import check_clocks, database_now
from aurea_celery.storage.locks import LOCK_TIMEOUT_MS, is_lock_error

logger = logging.getLogger("aurea_celery")

TABLES_EVERY_SECONDS = 3_600.0
CONDENSE_EVERY_SECONDS = 30.0
CONDENSE_SECONDS = 1.0
"""What remains after so long is condensed the next time: batches wait."""


class Chores:
    """The chores of one writer's process. What another session keeps it from can wait, and is no fault."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._next_tables = self._next_condensing = float("-inf")

    def do_what_is_due(self) -> None:
        """Check the schema and make partitions ahead, once an hour; condense hours that are over, twice a minute.

        Raises:
            SchemaMismatch: If the tables are missing, older or newer.
            sqlalchemy.exc.DBAPIError: If the server does not answer.
        """
        now = time.monotonic()
        if now >= self._next_tables:
            with self._engine.begin() as connection:
                check_schema(connection)
                _warn_about_clocks(connection)
            self._make_partitions()
            self._next_tables = now + TABLES_EVERY_SECONDS
        if now >= self._next_condensing:
            self._condense()
            self._next_condensing = now + CONDENSE_EVERY_SECONDS

    def _make_partitions(self) -> None:
        """A writer that may not make tables writes all the same: the default partition takes every row."""
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
                partitions.ensure(connection, database_now(connection))
        except DBAPIError as error:
            if is_privilege_error(error):
                logger.warning("aurea-celery: this user may not make partitions; run as the owner: aurea db maintain")
            elif not is_lock_error(error):
                raise

    def _condense(self) -> None:
        """A writer that may not condense writes all the same: answers about long times take longer."""
        try:
            condense(self._engine, most_seconds=CONDENSE_SECONDS, attempts=1)
        except DatabaseUnavailable:  # somebody keeps the lock
            return
        except DBAPIError as error:
            if not is_privilege_error(error):
                raise
            logger.warning("aurea-celery: this user may not condense sums; run as the owner: aurea db maintain")


def _warn_about_clocks(connection: sa.Connection) -> None:
    try:
        check_clocks(connection)
    except ClocksDiffer as error:
        logger.warning("aurea-celery: %s", error)
