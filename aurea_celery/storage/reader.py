"""A role for Grafana and the like: it reads the tables of aurea-celery, and can do nothing else."""

from __future__ import annotations

from typing import Any

import psycopg2.extensions
import sqlalchemy as sa

from aurea_celery.errors import ConfigurationError
from aurea_celery.storage import budget_tables  # noqa: F401 - its tables belong to the same metadata
from aurea_celery.storage.schema import VERSION_TABLE, metadata

STATEMENT_TIMEOUT_SECONDS = 30
MOST_CONNECTIONS = 20
MOST_NAME_BYTES = 63
OURS = "Reads the tables of aurea-celery; made by: aurea db reader"
"""The comment by which a role is known to be ours to change, and not the host's own."""

_KNOWN = sa.text("SELECT shobj_description(oid, 'pg_authid') AS comment FROM pg_roles WHERE rolname = :role")

_MAY_READ = sa.text(
    "SELECT bool_and(has_table_privilege(:role, name, 'SELECT')) FROM unnest(CAST(:tables AS text[])) AS name"
)


def make_reader(connection: sa.Connection, role: str, password: str) -> bool:
    """Create or update the role, in a transaction; whether it is new.

    The password is hashed here: the server does not see it, and cannot log it.

    Raises:
        ConfigurationError: If the name is too long, or belongs to a role that is not ours; or if the user does not own
            the tables.
        sqlalchemy.exc.DBAPIError: If the user may not make roles.
    """
    if not role or "\0" in role or len(role.encode()) > MOST_NAME_BYTES:
        raise ConfigurationError(f"the name of a role has 1 to {MOST_NAME_BYTES} bytes; choose another one with --role")
    known = connection.execute(_KNOWN, {"role": role}).one_or_none()
    if known is not None and known.comment != OURS:
        raise ConfigurationError(f"the role {role} is not one of ours; choose another name with --role, or drop it")
    if known is None:
        _execute(connection, "CREATE ROLE %I", role)
        _execute(connection, "COMMENT ON ROLE %I IS %L", role, OURS)
    _execute(connection, f"ALTER ROLE %I LOGIN CONNECTION LIMIT {MOST_CONNECTIONS}", role)
    _execute(connection, "ALTER ROLE %I PASSWORD %L", role, _hashed(connection, role, password))
    _execute(connection, "ALTER ROLE %I SET default_transaction_read_only = on", role)
    _execute(connection, f"ALTER ROLE %I SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'", role)
    _grant(connection, role)
    return known is None


def _grant(connection: sa.Connection, role: str) -> None:
    """Rows are read through ``metrics``, whose grant covers every partition, made now or later."""
    tables = ", ".join((*metadata.tables, VERSION_TABLE))
    database, schema = connection.execute(sa.text("SELECT current_database(), current_schema()")).one()
    _execute(connection, "GRANT CONNECT ON DATABASE %I TO %I", database, role)
    _execute(connection, "GRANT USAGE ON SCHEMA %I TO %I", schema, role)
    _execute(connection, "ALTER ROLE %I IN DATABASE %I SET search_path = %I", role, database, schema)
    _execute(connection, f"REVOKE ALL ON {tables} FROM %I", role)
    _execute(connection, f"GRANT SELECT ON {tables} TO %I", role)
    # Who only reads them may not pass that on, of which PostgreSQL warns and no more.
    if not connection.scalar(_MAY_READ, {"role": role, "tables": [*metadata.tables, VERSION_TABLE]}):
        raise ConfigurationError("this user may not let others read the tables; run this as their owner")


def _hashed(connection: sa.Connection, role: str, password: str) -> str:
    raw: Any = connection.connection.dbapi_connection
    return psycopg2.extensions.encrypt_password(password, role, scope=raw, algorithm="scram-sha-256")


def _execute(connection: sa.Connection, template: str, *values: str) -> None:
    """Run a statement that takes no parameters; the server itself quotes what is put into it."""
    statement = str(connection.scalar(sa.select(sa.func.format(template, *values))))
    connection.execute(sa.text(statement.replace(":", r"\:")))
