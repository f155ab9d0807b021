"""The document's door: ``init_db`` and the ORM view of ``metrics``."""

from __future__ import annotations

import sys

from sqlalchemy.orm import DeclarativeBase

from aurea_celery.errors import AureaError, SchemaMismatch
from aurea_celery.settings import require_database_url
from aurea_celery.storage import (
    budget_tables,  # noqa: F401 - its tables belong to the same metadata
    schema,
)
from aurea_celery.storage.comparison import ADVICE, table_differences
from aurea_celery.storage.database import create_engine, translating
from aurea_celery.storage.migrate import Upgraded, upgrade


class Base(DeclarativeBase):
    """The declarative base of the views below, on the tables of :mod:`aurea_celery.storage.schema`."""

    metadata = schema.metadata


class Metric(Base):
    """What one execution spent on one model."""

    __table__ = schema.metrics


def upgrade_database(url: str) -> Upgraded:
    """Create or upgrade the schema; safe to repeat. Return which, and how many tables were made.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If there is a table of somebody else's in the place of one of ours, or if tables that carry our
            revision are not those of this release.
    """
    engine = create_engine(url)
    try:
        with translating(url):
            done = upgrade(engine)
            with engine.connect() as connection:
                differences = table_differences(connection)
        if differences:
            found = ", ".join(differences)
            raise SchemaMismatch(
                f"the tables carry the revision of this release and are not its own ({found}); {ADVICE}"
            )
        return done
    finally:
        engine.dispose()


def init_db(database_url: str | None = None) -> None:
    """Create or upgrade the schema of ``DATABASE_URL``; meant for the command line.

    Raises:
        SystemExit: With status 2 and one sentence on standard error, if that cannot be done.
    """
    try:
        upgrade_database(database_url or require_database_url())
    except AureaError as error:
        print(f"aurea: {error}", file=sys.stderr)
        raise SystemExit(2) from None
