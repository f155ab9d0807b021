"""Databases that the dashboard's queries are asked of, and the role that may only read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import sqlalchemy as sa

from aurea_celery.storage.database import create_engine
from bench import filled
from tests.support.databases import connected

READER = "grafana_test_reader"  # roles belong to the whole server: those of `aurea db reader` are another test's
FULL_ROWS = 20_000
NOW = datetime.now(UTC).replace(microsecond=0)
HOSTILE = ("O'Brien", "%", "$1", "\\", "'; DROP TABLE metrics; --", 'say "no"', "tab\there", '\\"')
"""Names that a job can have; some of them have rows."""


@contextlib.contextmanager
def reading(url: str) -> Iterator[Any]:
    """A cursor of a role that may read, and do nothing else."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {READER}; SET default_transaction_read_only = on; SET TIME ZONE 'UTC'; COMMIT")
        yield cursor


def fill(url: str) -> None:
    """A year of executions, which ended just now."""
    engine = create_engine(url)
    with engine.connect() as connection:
        filled.fill(connection, FULL_ROWS, NOW + timedelta(hours=1))
        connection.execute(sa.text("ANALYZE"))
        connection.commit()
    engine.dispose()


def allow_reading(url: str) -> None:
    """Make the role, on a server that does not have it yet, and let it read a database."""
    with connected(url) as connection:
        _allow_reading(connection)


def _allow_reading(connection: sa.Connection) -> None:
    if not connection.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :name"), {"name": READER}):
        connection.execute(sa.text(f"CREATE ROLE {READER} NOLOGIN"))
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {READER}"))
    connection.execute(sa.text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}"))
