"""Why the database could not do something: the server's own reason in one sentence of ours, with what to do."""

from __future__ import annotations

import re

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from aurea_celery.errors import DatabaseError, DatabaseUnavailable, SchemaMismatch

NO_TABLES = "the database has no aurea-celery tables; run: aurea db upgrade"
OTHER_TABLES = (
    "the database's tables are not those of this release; aurea db check says what is missing, and what to do"
)

UNDEFINED_TABLE, UNDEFINED_COLUMN = "42P01", "42703"
INSUFFICIENT_PRIVILEGE, READ_ONLY = "42501", "25006"
DUPLICATES = ("42P07", "42710", "42723")
"""SQLSTATE of a table, type or function that is there already."""

ADVICE = {
    r"password|no such user|role .* does not exist|auth": "check the user and the password in DATABASE_URL",
    r"database .* does not exist|no such database": "create it with createdb, or correct DATABASE_URL",
    r"unsupported startup parameter": "leave that parameter out of DATABASE_URL",
    r"invalid .* value": "correct DATABASE_URL",
    r"SSL|certificate|pg_hba\.conf": "see sslmode in DATABASE_URL, and pg_hba.conf of the server",
    r"no schema has been selected": "create the schema that search_path names",
    r"translate host name": "check the host in DATABASE_URL",
    r"read-only|read-write|standby": "see target_session_attrs in DATABASE_URL, and which server is the primary",
    r"too many|connection slots|no more connections": "let the server have more connections, or run fewer processes",
}
"""What to do, by a part of what the server or libpq says; the first that is found."""

OF_SECRETS = ("password", "sslpassword")
_FAILED = re.compile(r"^connection to server .*? failed: (.*)$", re.MULTILINE)
_SEVERITY = re.compile(r"^(?:[A-Z]+:\s+)+")


def translated(url: URL, error: DBAPIError) -> DatabaseError:
    """Return our own error for one that is not about the data."""
    code, reason = getattr(error.orig, "pgcode", None), _without_secrets(_reason(error.orig), url)
    if code == UNDEFINED_TABLE and '"metrics"' in reason:  # what is asked for first
        return SchemaMismatch(NO_TABLES)
    if code in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
        return SchemaMismatch(OTHER_TABLES)
    if code in DUPLICATES:
        return SchemaMismatch(
            f"{_database(url)} has something of the name of one of our tables that is not ours ({reason});"
            " give aurea-celery a database of its own, or a schema: ?options=-csearch_path%3DNAME in DATABASE_URL"
        )
    if code == INSUFFICIENT_PRIVILEGE:
        return DatabaseUnavailable(
            f"the database at {place(url)} does not let this user do that ({reason});"
            " ask as the owner of the tables, or a superuser"
        )
    state = f" (SQLSTATE {code})" if code else ""
    advice = _advice(reason) or ("see the server's log" if code else "check that it runs")
    return DatabaseUnavailable(f"the database at {place(url)} is not available: {reason}{state}; {advice}")


def place(url: URL) -> str:
    """Return where the database is, without who asks.

    >>> from sqlalchemy.engine import make_url
    >>> place(make_url("postgresql://user:secret@db/x"))
    'db:5432'
    """
    hosts = url.host or url.query.get("host", "the local socket")
    if not isinstance(hosts, str):
        return ",".join(hosts)
    return f"{hosts}:{url.port or 5432}"


def _database(url: URL) -> str:
    return f"the database {url.database} at {place(url)}" if url.database else f"the database at {place(url)}"


def _reason(error: BaseException | None) -> str:
    """Return what the server says, or else libpq; of several servers each once."""
    said = getattr(getattr(error, "diag", None), "message_primary", None)
    if said:
        return str(said)
    text = str(error).strip()
    found = [_SEVERITY.sub("", one) for one in _FAILED.findall(text)] or [_SEVERITY.sub("", text.partition("\n")[0])]
    return ", ".join(one.rstrip(". ") for one in dict.fromkeys(found)) or type(error).__name__


def _advice(reason: str) -> str | None:
    return next((advice for said, advice in ADVICE.items() if re.search(said, reason, re.IGNORECASE)), None)


def _without_secrets(reason: str, url: URL) -> str:
    """Return a reason without what must not be shown, should it have come there."""
    for secret in (url.password, *(url.query.get(name) for name in OF_SECRETS)):
        if secret:
            reason = reason.replace(str(secret), "***")
    return reason
