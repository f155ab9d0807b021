"""Many rows into a table at once, with PostgreSQL's COPY."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import encodings
from sqlalchemy.exc import DBAPIError

from aurea_celery.storage.database import encode_of, is_session_doubtful

# A list in JSON without its brackets is a line of CSV, but for the control characters, which COPY takes as they are.
FORMAT = r"(FORMAT csv, NULL 'null', ESCAPE E'\\')"
CONTROL_ESCAPE = re.compile(rb"\\[bfnrtu]")
ESCAPE = re.compile(rb"\\(?:u.{4}|.)")
KEPT = (rb"\"", rb"\\")

PIECE_ROWS = 50
_encoder = msgspec.json.Encoder()


def copy_lines(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    r"""Rows in the form that :func:`copy` takes, some at a time; ``None`` is NULL.

    >>> list(copy_lines([('a,"b', None, 1), ("c", True, 2)]))
    [b'"a,\\"b",null,1\n"c",true,2\n']
    """
    remaining = iter(rows)
    while piece := [_encoder.encode(row)[1:-1] for row in itertools.islice(remaining, PIECE_ROWS)]:
        yield _unescaped(b"\n".join(piece)) + b"\n"


def _unescaped(text: bytes) -> bytes:
    """Control characters as they are."""
    # The first pattern is quick and may hit the end of an escaped backslash; the second is exact.
    return ESCAPE.sub(_character, text) if CONTROL_ESCAPE.search(text) else text


def _character(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[0] in KEPT else msgspec.json.decode(b'"%b"' % escape[0], type=str).encode()


def copy(connection: sa.Connection, table: str, columns: Sequence[str], lines: Iterable[bytes]) -> None:
    """Copy lines into a table; the server reads the first ones while the next are made.

    Raises:
        sqlalchemy.exc.DBAPIError: If the server refuses them, as for any statement.
        BaseException: What making the lines raises.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN {FORMAT}"
    raw: Any = connection.connection.dbapi_connection
    encode = encode_of(connection)
    if encode is not None:
        lines = (encode(one.decode()).encode(encodings[raw.encoding]) for one in lines)
    reader = _Reader(lines)
    try:
        with raw.cursor() as cursor:
            cursor.copy_expert(statement, reader)
    except psycopg2.Error as error:
        if reader.fault:
            raise reader.fault from None
        lost = raw.closed != 0 or is_session_doubtful(error)
        if lost:
            connection.invalidate(error)
        wrapped = DBAPIError.instance(
            statement, (), error, psycopg2.Error, connection_invalidated=lost, dialect=connection.dialect
        )
        raise wrapped from error


class _Reader:
    """What psycopg2 reads from; it would hide an exception of ours in one of the database's."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.fault: BaseException | None = None

    def read(self, _size: int) -> bytes:
        try:
            return next(self._lines, b"")
        except BaseException as error:
            self.fault = error
            raise
