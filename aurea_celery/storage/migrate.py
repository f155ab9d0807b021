"""Bringing a database to this release's schema, with the Alembic migrations in the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from aurea_celery.storage import partitions
from aurea_celery.storage.database_clock import database_now

HEAD_REVISION = "0001"

# One number for all who migrate or make partitions; PostgreSQL's advisory locks are per database.
ADVISORY_LOCK = 0x617572656100


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration, made here so that users need no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


class Upgraded(NamedTuple):
    """Which database and schema was upgraded, and how many tables were made, partitions among them."""

    database: str
    schema: str
    tables: int


_TABLES = sa.text(
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')"
    " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
)


def upgrade(engine: sa.Engine) -> Upgraded:
    """Create or upgrade the tables, and make partitions ahead; safe to repeat, also at the same time."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        before = connection.scalar(_TABLES) or 0
        command.upgrade(alembic_config(connection), "head")
        partitions.ensure(connection, database_now(connection))
        database, schema = connection.execute(sa.text("SELECT current_database(), current_schema()")).one()
        return Upgraded(database, schema, (connection.scalar(_TABLES) or 0) - before)


def downgrade(engine: sa.Engine) -> None:
    """Remove the tables and everything in them."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        command.downgrade(alembic_config(connection), "base")
