"""Connections to PostgreSQL, and its errors in our own words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from aurea_celery.errors import ConfigurationError, DatabaseUnavailable, SchemaMismatch
from aurea_celery.storage.migrate import HEAD_REVISION
from aurea_celery.storage.schema import VERSION_TABLE

SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg2"})
CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 60

# SQLSTATE classes (https://www.postgresql.org/docs/current/errcodes-appendix.html) that time may heal: connection,
# resources such as disk and connections, operator intervention, system errors, rollback for concurrency.
HEALING_CLASSES = ("08", "40", "53", "55", "57", "58")
READ_ONLY = "25006"
UNDEFINED_TABLE = "42P01"


def parse_url(text: str) -> URL:
    """Check a database URL.

    Raises:
        ConfigurationError: If it is not one of PostgreSQL's.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError("DATABASE_URL is not a URL; write postgresql://user:password@host:5432/name") from None
    if url.drivername not in SCHEMES:
        raise ConfigurationError(f"DATABASE_URL must start with postgresql://, not {url.drivername}://")
    return url.set(drivername="postgresql+psycopg2")


def create_engine(text: str, *, pool_size: int = 4) -> Engine:
    """An engine with a small pool whose connections and statements cannot hang for ever.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """
    return sa.create_engine(
        parse_url(text),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "aurea-celery",
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS * 1000} -c timezone=UTC",
        },
    )


@contextlib.contextmanager
def translating(text: str) -> Iterator[None]:
    """Turn the driver's errors that time or a migration heals into ours; others pass through.

    Raises:
        DatabaseUnavailable: If the server does not answer, is full, or had to cancel.
        SchemaMismatch: If a table of ours is missing.
    """
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        if code == UNDEFINED_TABLE:
            raise SchemaMismatch("the database has no aurea-celery tables; run: aurea db upgrade") from error
        if code == READ_ONLY or code is None or code.startswith(HEALING_CLASSES) or error.connection_invalidated:
            url = parse_url(text)
            place = f"{url.host or url.query.get('host', 'the local socket')}:{url.port or 5432}"
            reason = f" (SQLSTATE {code})" if code else ""
            raise DatabaseUnavailable(
                f"the database at {place} is not available{reason}; check that it runs"
            ) from error
        raise


def check_database(url: str) -> None:
    """Make sure that a database answers and has the tables of this release.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If it does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    engine = create_engine(url, pool_size=1)
    try:
        with translating(url), engine.connect() as connection:
            check_schema(connection)
    finally:
        engine.dispose()


def check_schema(connection: sa.Connection) -> None:
    """Make sure that the tables are those of this release.

    Raises:
        SchemaMismatch: If they are missing, older or newer.
    """
    if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": VERSION_TABLE}) is None:
        raise SchemaMismatch("the database has no aurea-celery tables; run: aurea db upgrade")
    found = connection.scalar(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    if found is None or found < HEAD_REVISION:
        raise SchemaMismatch("the database's aurea-celery tables are of an older release; run: aurea db upgrade")
    if found > HEAD_REVISION:
        raise SchemaMismatch("the database's aurea-celery tables are of a newer release; upgrade aurea-celery here")
