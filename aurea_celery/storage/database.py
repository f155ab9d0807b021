"""Connections to PostgreSQL, and its errors in our own words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2.errors
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aurea_celery.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, SchemaMismatch
from aurea_celery.storage.migrate import HEAD_REVISION
from aurea_celery.storage.schema import VERSION_TABLE

SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg2"})
CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 60.0

# When a server that is cut off, so that nobody says so, is given up: after two minutes and not after two hours.
UNREACHABLE = {"keepalives_idle": 60, "keepalives_interval": 15, "keepalives_count": 4, "tcp_user_timeout": 120_000}

# SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) of a value or a row that breaks a rule or a
# limit. All other errors are about the database and not about what is written to it.
DATA_CLASSES = ("22", "23", "54")
UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE = "42P01", "42501"


def parse_url(text: str) -> URL:
    """Check a database URL.

    Raises:
        ConfigurationError: If it is not one of PostgreSQL's.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the second one shows a part of the URL
        raise ConfigurationError("DATABASE_URL is not a URL; write postgresql://user:password@host:5432/name") from None
    if url.drivername not in SCHEMES:
        raise ConfigurationError(f"DATABASE_URL must start with postgresql://, not {url.drivername}://")
    if "\0" in text:
        raise ConfigurationError("DATABASE_URL must not hold a NUL character")
    return url.set(drivername="postgresql+psycopg2")


def create_engine(text: str, *, pool_size: int = 4, pool_wait_seconds: float = 30.0, pre_ping: bool = True) -> Engine:
    """An engine with a small pool whose connections and statements cannot hang for ever.

    Whoever wants a connection while all are in use waits for ``pool_wait_seconds``. With ``pre_ping`` one that was
    closed meanwhile is noticed, and replaced, before it is used.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """
    return sa.create_engine(
        parse_url(text),
        pool_size=pool_size,
        pool_timeout=pool_wait_seconds,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        hide_parameters=True,  # errors may be logged; the host's names stay out of them
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "aurea-celery",
            **UNREACHABLE,
            "options": f"-c statement_timeout={int(STATEMENT_TIMEOUT_SECONDS * 1000)} -c timezone=UTC",
        },
    )


def is_data_error(error: DBAPIError) -> bool:
    """Whether a value or a row broke a rule of the database."""
    return (getattr(error.orig, "pgcode", None) or "").startswith(DATA_CLASSES)


def is_privilege_error(error: DBAPIError) -> bool:
    """Whether the user may not do that."""
    return getattr(error.orig, "pgcode", None) == INSUFFICIENT_PRIVILEGE


@contextlib.contextmanager
def translating(text: str) -> Iterator[None]:
    """Turn the driver's errors into ours, but for those about the data, which pass through.

    Raises:
        DatabaseUnavailable: If the server does not answer, is full, had to cancel, or refuses.
        DatabaseBusy: If all of our connections are in use.
        SchemaMismatch: If a table of ours is missing.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseBusy("all connections to the database are busy; try again later") from error
    except DBAPIError as error:
        if is_data_error(error):
            raise
        code = getattr(error.orig, "pgcode", None)
        if code == UNDEFINED_TABLE:
            raise SchemaMismatch("the database has no aurea-celery tables; run: aurea db upgrade") from error
        raise DatabaseUnavailable(_describe(parse_url(text), code)) from error


def _describe(url: URL, code: str | None) -> str:
    place = f"{url.host or url.query.get('host', 'the local socket')}:{url.port or 5432}"
    if code is None:
        return f"the database at {place} is not available; check that it runs"
    if code == INSUFFICIENT_PRIVILEGE:
        return f"the database at {place} does not let this user do that; ask as the owner of the tables, or a superuser"
    return f"the database at {place} is not available (SQLSTATE {code}, {psycopg2.errors.lookup(code).__name__})"


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
