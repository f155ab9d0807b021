"""Writing batches: rows, rollups and the books in one transaction, exactly once by ``event_id``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from psycopg2 import errors as pg
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from aurea_celery.clock import from_us, now_us
from aurea_celery.events import Source, TaskEvent, decode_batch, decode_event
from aurea_celery.storage import partitions, rollups
from aurea_celery.storage.database import check_schema, create_engine, translating
from aurea_celery.storage.rows import Price, Row, copy_line, rows_of
from aurea_celery.storage.schema import metrics_rejected, metrics_sources

COLUMNS = ", ".join(Row._fields)
DATA_ERRORS = ("22", "23")
PARTITION_CHECK_US = 3_600 * 1_000_000


class Delivered(NamedTuple):
    """One source's part of a batch: events that can be read, and payloads that cannot, with the reason."""

    source: Source
    events: list[TaskEvent]
    unreadable: list[tuple[str, str]]


class Writer:
    """Writes batches to one database. One per process; connects on first use.

    Args:
        url: The database.
        price: What a model call costs; :func:`aurea_celery.pricing.price` is the real one.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """

    def __init__(self, url: str, price: Price) -> None:
        self._url = url
        self._price = price
        self._engine = create_engine(url)
        self._checked_at_us = 0

    def write(self, batch: str) -> None:
        """Write a message's batch and return once it is committed.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        try:
            sources = decode_batch(batch).sources
        except msgspec.DecodeError as error:
            self._transact([], [(str(error), batch)])
            return
        self._transact([_delivered(one.source, one.events) for one in sources], [])

    def write_events(self, source: Source, events: list[TaskEvent]) -> None:
        """Write events that did not come through the queue.

        Raises:
            DatabaseUnavailable: If the database cannot take them now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        self._transact([Delivered(source, events, [])], [])

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _transact(self, delivered: list[Delivered], unreadable: list[tuple[str, str]]) -> None:
        with translating(self._url):
            self._prepare()
            with self._engine.begin() as connection:
                for reason, payload in unreadable:
                    _reject(connection, None, reason, payload)
                # In one order everywhere: two writers with parts of the same sources do not wait in a circle.
                parts = sorted(delivered, key=lambda part: part.source.source_id)
                outcomes = [_write_source(connection, part, self._price) for part in parts]
                rollups.add_rows(connection, [row for rows, _ in outcomes for row in rows])
                for part, (_, counts) in zip(parts, outcomes, strict=True):
                    _keep_books(connection, part.source, counts)

    def _prepare(self) -> None:
        """Check the schema, and make partitions ahead, once an hour."""
        now = now_us()
        if now - self._checked_at_us > PARTITION_CHECK_US:
            with self._engine.begin() as connection:
                check_schema(connection)
                partitions.ensure(connection, from_us(now))
            self._checked_at_us = now


class Counts(NamedTuple):
    """What became of a source's events."""

    written: int
    rejected: int
    duplicates: int


def _delivered(source: Source, raw_events: list[msgspec.Raw]) -> Delivered:
    events, unreadable = [], []
    for raw in raw_events:
        try:
            events.append(decode_event(raw))
        except msgspec.DecodeError as error:
            unreadable.append((str(error), bytes(raw).decode("utf-8", "replace")))
    return Delivered(source, events, unreadable)


def _write_source(connection: sa.Connection, part: Delivered, price: Price) -> tuple[list[Row], Counts]:
    """Insert a source's events; the rows really inserted, and the counts."""
    rejected = sum(_reject(connection, part.source, reason, payload) for reason, payload in part.unreadable)
    try:
        inserted = _insert(connection, part.events, price)
    except DBAPIError as error:
        if not _is_data_error(error):
            raise
        inserted, refused = _insert_one_by_one(connection, part.source, part.events, price)
        rejected += refused
    written = sum(row.executions for row in inserted)
    known = len(part.events) + len(part.unreadable)
    return inserted, Counts(written, rejected, known - written - rejected)


def _insert(connection: sa.Connection, events: Iterable[TaskEvent], price: Price) -> list[Row]:
    """Insert events that keep the rules; COPY straight into the table, or around the rows that are there already."""
    rows = list({(row.event_id, row.seq): row for event in events for row in rows_of(event, price)}.values())
    if not rows:
        return []
    try:
        with connection.begin_nested():
            _copy(connection, "metrics", rows)
    except DBAPIError as error:
        if not isinstance(error.orig, pg.UniqueViolation):
            raise
        return _insert_missing(connection, rows)
    return rows


def _insert_missing(connection: sa.Connection, rows: list[Row]) -> list[Row]:
    with connection.begin_nested():
        connection.execute(
            sa.text(f"CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {COLUMNS} FROM metrics WITH NO DATA")  # noqa: S608
        )
        _copy(connection, "incoming", rows)
        found = connection.execute(
            sa.text(
                f"INSERT INTO metrics ({COLUMNS}) SELECT {COLUMNS} FROM incoming"  # noqa: S608 - our own columns
                " ORDER BY created_at, event_id, seq ON CONFLICT DO NOTHING RETURNING event_id::text, seq"
            )
        )
        keys = {(event_id, seq) for event_id, seq in found}
        connection.execute(sa.text("DROP TABLE incoming"))
    return [row for row in rows if (row.event_id, row.seq) in keys]


def _insert_one_by_one(connection: sa.Connection, source: Source, events: Iterable[TaskEvent]) -> tuple[list[Row], int]:
    """After a rule was broken somewhere: write the good events, keep the bad ones with the reason."""
    inserted: list[Row] = []
    rejected = 0
    for event in events:
        try:
            with connection.begin_nested():
                inserted += _insert(connection, [event], price)
        except DBAPIError as error:
            if not _is_data_error(error):
                raise
            diagnosis = getattr(error.orig, "diag", None)
            reason = (
                f"{getattr(diagnosis, 'constraint_name', None) or ''} {diagnosis.message_primary if diagnosis else ''}"
            )
            rejected += _reject(connection, source, reason.strip(), msgspec.json.encode(event).decode())
    return inserted, rejected


def _is_data_error(error: DBAPIError) -> bool:
    return (getattr(error.orig, "pgcode", None) or "").startswith(DATA_ERRORS)


def _copy(connection: sa.Connection, table: str, rows: list[Row]) -> None:
    buffer = io.StringIO("".join([copy_line(row) for row in rows]))
    raw: Any = connection.connection.dbapi_connection
    try:
        with raw.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({COLUMNS}) FROM STDIN", buffer)
    except raw.Error as error:
        wrapped = DBAPIError.instance(f"COPY {table}", (), error, Exception, dialect=connection.dialect)
        raise wrapped from error


def _reject(connection: sa.Connection, source: Source | None, reason: str, payload: str) -> int:
    """Keep what could not be written; 1, or 0 if the same payload was kept before."""
    digest = hashlib.sha256(payload.encode("utf-8", "replace")).hexdigest()
    found = connection.execute(
        insert(metrics_rejected)
        .values(
            payload_hash=digest,
            source_id=source.source_id if source else None,
            reason=reason,
            payload=payload.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        )
        .on_conflict_do_nothing()
        .returning(metrics_rejected.c.id)
    )
    return len(found.all())


def _keep_books(connection: sa.Connection, source: Source, counts: Counts) -> None:
    now = from_us(now_us())
    statement = insert(metrics_sources).values(
        source_id=source.source_id,
        host=source.host,
        pid=source.pid,
        captured=source.captured,
        dropped=source.dropped,
        first_seen_at=now,
        last_seen_at=now,
        **counts._asdict(),
    )
    table, new = metrics_sources.c, statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["source_id"],
            set_={
                "captured": sa.func.greatest(table.captured, new.captured),
                "written": table.written + new.written,
                "rejected": table.rejected + new.rejected,
                "duplicates": table.duplicates + new.duplicates,
                # Drop counters only grow: the later of two reports is the one with more captured.
                "dropped": sa.case((new.captured >= table.captured, new.dropped), else_=table.dropped),
                "last_seen_at": sa.func.greatest(table.last_seen_at, new.last_seen_at),
            },
        )
    )
