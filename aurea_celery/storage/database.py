"""Connections to PostgreSQL, and its errors in our own words.

What each of our connections needs is set here, so that it holds through a pooler, too, which may give every transaction
another session of the server: what libpq sends when it connects is only what poolers keep track of, and the rest is set
in each transaction (``docs/decisions/0039-set-in-each-transaction.md``).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import make_dsn
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aurea_celery.errors import ConfigurationError, DatabaseBusy, SchemaMismatch
from aurea_celery.storage import encoding, reasons
from aurea_celery.storage.migrate import HEAD_REVISION
from aurea_celery.storage.schema import VERSION_TABLE

SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg2"})

# A server that is cut off, so that nobody says so, is given up after two minutes and not after two hours.
CONNECTING = {
    "connect_timeout": 5,
    "application_name": "aurea-celery",
    "keepalives_idle": 60,
    "keepalives_interval": 15,
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,
}
"""What libpq is told, unless the URL says something else."""

LIMITS = {"statement_timeout": "60s", "lock_timeout": "0"}
"""What is set in each transaction, unless the URL says something else."""

REQUIRED = {"timezone": "UTC", "synchronous_commit": "on"}
"""What is set in each transaction, whatever the URL says: a receipt promises that a crash loses nothing."""

# SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) of a value or a row that breaks a rule or a
# limit. All other errors are about the database and not about what is written to it.
DATA_CLASSES = ("22", "23", "54")
INSUFFICIENT_PRIVILEGE = "42501"
OF_THE_STATEMENT = (*DATA_CLASSES, "40", "55P03", "57014", INSUFFICIENT_PRIVILEGE)
"""Of errors after which the session is as good as any other: data, deadlocks, locks, time limits, rights."""

_SERVERS = re.compile(
    r"(?P<scheme>[^:/]+://)(?P<user>[^/?]*@)?(?P<servers>[^/?@,]+(?:,[^/?@,]+)+)(?P<rest>.*)", re.DOTALL
)
_ARGUMENT = re.compile(r"(?:\\.|\S)+")
_SETTING = re.compile(r"(?:-c|--)(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
_BEGUN, _ENCODE = "aurea_begun", "aurea_encode"


def parse_url(text: str) -> URL:
    """Check a database URL; like libpq's, it may name several servers (``postgresql://a:5432,b:5432/name``).

    Raises:
        ConfigurationError: If it is not one of PostgreSQL's.
    """
    several = _SERVERS.fullmatch(text)
    try:
        url = make_url(several["scheme"] + (several["user"] or "") + several["rest"] if several else text)
    except (ArgumentError, ValueError):  # the second one shows a part of the URL
        raise ConfigurationError("DATABASE_URL is not a URL; write postgresql://user:password@host:5432/name") from None
    if url.drivername not in SCHEMES:
        raise ConfigurationError(f"DATABASE_URL must start with postgresql://, not {url.drivername}://")
    if "\0" in text:
        raise ConfigurationError("DATABASE_URL must not hold a NUL character")
    if "@" in (url.host or ""):  # it would be named in errors as the host
        raise ConfigurationError("the password in DATABASE_URL has an @; write it as %40")
    try:
        make_dsn(**dict.fromkeys(url.query, ""))
    except psycopg2.ProgrammingError as error:
        raise ConfigurationError(f"DATABASE_URL is not understood ({str(error).strip()}); correct it") from None
    if several:
        url = url.update_query_dict({"host": several["servers"].split(",")})
    return url.set(drivername="postgresql+psycopg2")


def address_of(text: str) -> str:
    """Return a database's host, port and name, for people to read; never a password.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.

    >>> address_of("postgresql://user:password@localhost/aurea")
    'localhost:5432/aurea'
    """
    url = parse_url(text)
    return f"{reasons.place(url)}/{url.database or ''}"


def create_engine(text: str, *, pool_size: int = 4, pool_wait_seconds: float = 30.0, pre_ping: bool = True) -> Engine:
    """Return an engine with a small pool whose connections and statements cannot hang for ever.

    Whoever wants a connection while all are in use waits for ``pool_wait_seconds``. With ``pre_ping`` one that was
    closed meanwhile is noticed, and replaced, before it is used. One that an error of the server makes doubtful, such
    as that of a session that became read-only, is closed, and so are the others of the pool.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """
    url, of_url = _take_settings(parse_url(text))
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        pool_timeout=pool_wait_seconds,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        isolation_level="READ COMMITTED",  # sent with BEGIN
        use_native_hstore=False,  # it would be looked for at each connect
        json_serializer=_json,
        hide_parameters=True,  # errors may be logged; the host's names stay out of them
        connect_args={name: value for name, value in CONNECTING.items() if name not in url.query}
        | {"client_encoding": "UTF8"},
    )
    _set_in_each_transaction(engine, LIMITS | of_url | REQUIRED)
    event.listen(engine, "handle_error", _drop_doubtful_session)
    return engine


def _json(value: Any) -> str:
    """Return JSON without escapes, which a database in another encoding than UTF-8 cannot always resolve."""
    return msgspec.json.encode(value).decode()


def _take_settings(url: URL) -> tuple[URL, dict[str, str]]:
    """Take the settings out of a URL's ``options``, which poolers refuse; what else is there stays.

    >>> _take_settings(make_url("postgresql://db/x?options=-csearch_path%3Daurea"))
    (postgresql://db/x, {'search_path': 'aurea'})
    """
    given = url.query.get("options", "")
    arguments = _ARGUMENT.findall(given if isinstance(given, str) else " ".join(given))
    settings, others = {}, []
    while arguments:
        argument = arguments.pop(0)
        if argument == "-c" and arguments:
            argument += arguments.pop(0)
        if setting := _SETTING.fullmatch(re.sub(r"\\(.)", r"\1", argument)):
            settings[setting["name"].replace("-", "_").lower()] = setting["value"]
        else:
            others.append(argument)
    url = url.difference_update_query(["options"])
    return url.update_query_dict({"options": " ".join(others)}) if others else url, settings


def _set_in_each_transaction(engine: Engine, settings: Mapping[str, str]) -> None:
    """Send settings with the first statement of each transaction, which costs no round trip; and texts as they must."""
    prefix = "".join(f"SET LOCAL {name} = {_value(name, value)}; " for name, value in settings.items())

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, record: Any) -> None:
        record.info[_ENCODE] = encoding.prepare(raw)

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.info[_BEGUN] = True

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def complete(
        connection: sa.Connection, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        begins = connection.info.pop(_BEGUN, False) and not cursor.connection.autocommit
        encode = connection.info[_ENCODE]
        if begins and cursor.name:  # a cursor on the server is for one query
            with cursor.connection.cursor() as other:
                other.execute(prefix, ())
        elif begins:
            statement = prefix + statement
        if encode is not None:
            return encode(statement), encoding.encode_parameters(parameters, encode)
        return statement, parameters


def encode_of(connection: sa.Connection) -> encoding.Encode | None:
    """Return how texts are to be sent by other ways than statements and parameters; None if as they are."""
    encode: encoding.Encode | None = connection.info.get(_ENCODE)
    return encode


def _value(name: str, value: str) -> str:
    """Return a setting's value as ``SET`` takes it."""
    # As in the server's configuration, names of schemas are a list, and not in capitals unless quoted.
    names = re.findall(r'"(?:[^"]|"")*"|[^",\s]+', value) if name == "search_path" else None
    if names is None:
        return _literal(value)
    return ", ".join(
        _literal(one[1:-1].replace('""', '"') if one.startswith('"') else one.lower()) for one in names
    ) or _literal("")


def _literal(text: str) -> str:
    doubled = text.translate({ord(character): character * 2 for character in "\\'%"})  # % is the driver's
    return f"E'{doubled}'"


def is_data_error(error: DBAPIError) -> bool:
    """Whether a value or a row broke a rule of the database."""
    return (getattr(error.orig, "pgcode", None) or "").startswith(DATA_CLASSES)


def is_privilege_error(error: DBAPIError) -> bool:
    """Whether the user may not do that."""
    return getattr(error.orig, "pgcode", None) == INSUFFICIENT_PRIVILEGE


def is_session_doubtful(error: BaseException | None) -> bool:
    """Whether a new session may do what this one could not: it is read-only, say, or finds other tables.

    All errors that are not known to be of the statement alone are taken for such. A new session costs milliseconds,
    and one that cannot write would go on for as long as it lives.
    """
    code = getattr(error, "pgcode", None)
    return code is not None and not code.startswith(OF_THE_STATEMENT)


def _drop_doubtful_session(context: Any) -> None:
    if is_session_doubtful(context.original_exception):
        context.is_disconnect = True


@contextlib.contextmanager
def translating(text: str) -> Iterator[None]:
    """Turn the driver's errors into ours, but for those about the data, which pass through.

    Raises:
        DatabaseUnavailable: If the server does not answer, is full, had to cancel, or refuses.
        DatabaseBusy: If all of our connections are in use.
        SchemaMismatch: If a table of ours is missing, or somebody else's is in its place.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseBusy("all connections to the database are busy; try again later") from error
    except DBAPIError as error:
        if is_data_error(error):
            raise
        raise reasons.translated(parse_url(text), error) from error


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
        connection.invalidate()  # a role's search path, for one, is that of new sessions
        raise SchemaMismatch(reasons.NO_TABLES)
    found = connection.scalar(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    if found is None or found < HEAD_REVISION:
        raise SchemaMismatch("the database's aurea-celery tables are of an older release; run: aurea db upgrade")
    if found > HEAD_REVISION:
        raise SchemaMismatch("the database's aurea-celery tables are of a newer release; upgrade aurea-celery here")
