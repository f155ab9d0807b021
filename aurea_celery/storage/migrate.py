"""Bringing a database to this release's schema, with the Alembic migrations in the package."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from aurea_celery.clock import from_us, now_us
from aurea_celery.storage import partitions

HEAD_REVISION = "0002"

# One number for all who migrate or make partitions; PostgreSQL's advisory locks are per database.
ADVISORY_LOCK = 0x617572656100


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration, made here so that users need no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: sa.Engine) -> None:
    """Create or upgrade the tables, and make partitions ahead; safe to repeat, also at the same time."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        command.upgrade(alembic_config(connection), "head")
        partitions.ensure(connection, from_us(now_us()))


def downgrade(engine: sa.Engine) -> None:
    """Remove the tables and everything in them."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        command.downgrade(alembic_config(connection), "base")
