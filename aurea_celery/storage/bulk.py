"""Many rows into a table at once, with PostgreSQL's COPY."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


def copy_lines(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows in the CSV form of COPY; ``None`` and the empty text are NULL.

    >>> copy_lines([("a,b", None, 1)])
    '"a,b",,1\r\n'
    """
    buffer = io.StringIO()
    # It quotes what occurs in its line end, and COPY refuses both a carriage return and a line feed without quotes.
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def copy(connection: sa.Connection, table: str, columns: Sequence[str], lines: str) -> None:
    """Copy lines into a table.

    Raises:
        sqlalchemy.exc.DBAPIError: If the server refuses them, as for any statement.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT csv)"
    raw: Any = connection.connection.dbapi_connection
    try:
        with raw.cursor() as cursor:
            cursor.copy_expert(statement, io.StringIO(lines))
    except psycopg2.Error as error:
        lost = raw.closed != 0
        wrapped = DBAPIError.instance(
            statement, (), error, psycopg2.Error, connection_invalidated=lost, dialect=connection.dialect
        )
        raise wrapped from error
