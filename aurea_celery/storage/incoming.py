"""The rows of one transaction on their way into ``metrics`` and the rollups.

They are copied into a temporary table, from which one statement inserts them and adds them to every rollup.

The table and the statement live as long as the session, which through a pooler is others' too: of the user's app, of an
older or newer release. So their names are of what they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from aurea_celery.storage import rollups
from aurea_celery.storage.bulk import copy, copy_lines
from aurea_celery.storage.migrate import HEAD_REVISION
from aurea_celery.storage.rows import COLUMNS, Row

NAMES = ", ".join(COLUMNS)


def _inserting(table: str, on_conflict: str = "") -> str:
    """The steps that insert and add what was really inserted to the rollups, for a query to follow.

    PostgreSQL runs such steps one after another and always in the same order, and each in the order of its keys.
    """
    return (
        f"WITH inserted AS (INSERT INTO metrics ({NAMES}) SELECT {NAMES} FROM {table}"  # noqa: S608 - our own names
        f" ORDER BY created_at, event_id, seq {on_conflict} RETURNING event_id, {rollups.SOURCES}),"
        f" {rollups.adding('inserted')}"
    )


_DIGEST = hashlib.sha256(f"{HEAD_REVISION} {_inserting('incoming')}".encode()).hexdigest()[:12]
TABLE, STATEMENT = f"pg_temp.aurea_incoming_{_DIGEST}", f"aurea_insert_{_DIGEST}"

# What the session already has: looked up, since a rollback or a pooler may have taken it away. Together with the lock,
# because each trip to the server counts.
SESSION = sa.text(
    f"{rollups.HOLD_BUDGETS}; SELECT to_regclass('{TABLE}') IS NOT NULL AS has_table,"  # noqa: S608 - our own names
    f" EXISTS (SELECT FROM pg_prepared_statements WHERE name = '{STATEMENT}') AS has_statement"
)
# The table lives as long as the session, so that the catalogue does not grow, and is empty between transactions.
CREATE = sa.text(
    f"CREATE TEMP TABLE {TABLE} ON COMMIT DELETE ROWS AS SELECT {NAMES} FROM metrics WITH NO DATA"  # noqa: S608 - ours
)
CLEAR = sa.text(f"DELETE FROM {TABLE}")  # noqa: S608 - our own name

# Prepared, because reading and planning it takes almost a millisecond; nothing comes back.
PREPARE = sa.text(f"PREPARE {STATEMENT} AS {_inserting(TABLE)} SELECT")
INSERT_ALL = sa.text(f"EXECUTE {STATEMENT}")
INSERT_MISSING = sa.text(
    f"{_inserting(TABLE, 'ON CONFLICT DO NOTHING')} SELECT CAST(event_id AS text), created_at FROM {TABLE}"  # noqa: S608 - ours
    " WHERE executions = 1"
    " AND (event_id, created_at) NOT IN (SELECT event_id, created_at FROM inserted WHERE executions = 1)"
)

Key = tuple[str, datetime]
"""What tells one event from every other: its id, and when it ended."""


def fill(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Copy rows into the table of this transaction."""
    session = connection.execute(SESSION).one()
    if not session.has_table:
        connection.execute(CREATE)
    if not session.has_statement:
        connection.execute(PREPARE)
    copy(connection, TABLE, COLUMNS, copy_lines(rows))


def insert_all(connection: sa.Connection) -> list[Key]:
    """Insert the rows, none of which may be there already; no keys of events.

    Raises:
        sqlalchemy.exc.DBAPIError: If one is there already, or breaks another rule.
    """
    connection.execute(INSERT_ALL)
    return []


def insert_missing(connection: sa.Connection) -> list[Key]:
    """Insert the rows that are not there already; the keys of the events that are.

    Raises:
        sqlalchemy.exc.DBAPIError: If one breaks a rule.
    """
    return [(row.event_id, row.created_at) for row in connection.execute(INSERT_MISSING)]


def clear(connection: sa.Connection) -> None:
    """Forget the rows."""
    connection.execute(CLEAR)
