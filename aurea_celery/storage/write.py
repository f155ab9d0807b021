"""Writing batches: rows, rollups and the books in one transaction, exactly once by ``event_id``."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from aurea_celery.clock import from_us, now_us, to_us
from aurea_celery.errors import DatabaseError
from aurea_celery.events import Receipt, Source, TaskEvent
from aurea_celery.storage import incoming, partitions
from aurea_celery.storage.database import check_schema, create_engine, is_data_error, translating
from aurea_celery.storage.delivered import Delivered, Unreadable, read_batch
from aurea_celery.storage.rows import Price, rows_of
from aurea_celery.storage.schema import metrics_rejected, metrics_sources

logger = logging.getLogger("aurea_celery")

LOCK_NOT_AVAILABLE = "55P03"
PARTITION_CHECK_US = 3_600 * 1_000_000


_books, _new = metrics_sources.c, insert(metrics_sources).excluded
ADD_TO_BOOKS = insert(metrics_sources).on_conflict_do_update(
    index_elements=["source_id"],
    set_={
        "captured": sa.func.greatest(_books.captured, _new.captured),
        "written": _books.written + _new.written,
        "rejected": _books.rejected + _new.rejected,
        "duplicates": _books.duplicates + _new.duplicates,
        # Drop counters only grow: the later of two reports is the one with more captured.
        "dropped": sa.case((_new.captured >= _books.captured, _new.dropped), else_=_books.dropped),
        "excluded": sa.func.greatest(_books.excluded, _new.excluded),
        "sampled_out": sa.func.greatest(_books.sampled_out, _new.sampled_out),
        "last_seen_at": sa.func.greatest(_books.last_seen_at, _new.last_seen_at),
    },
)


InsertIncoming = Callable[[sa.Connection], list[incoming.Key]]
"""Inserts what is incoming; the keys of the events that were there already."""


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
        self._engine = create_engine(url, pre_ping=False)  # it would be a round trip for every message
        self._checked_at_us = 0

    def write(self, batch: str) -> Receipt | None:
        """Write a message's batch and return once it is committed; what cannot be written is kept with the reason.

        Returns:
            The receipt that the sender asks for, if it does.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
            MemoryError: If there is not enough for it now; nothing was written.
        """
        try:
            delivered, receipt = read_batch(batch)
        except msgspec.DecodeError as error:
            self.reject(f"not a batch of events: {error}", batch)
            return None
        try:
            self._transact(delivered)
        except (DatabaseError, MemoryError):
            raise
        except Exception as error:  # a fault of ours must not cost the events
            logger.error(  # noqa: TRY400 - a traceback would show the host's names
                "aurea-celery: a batch could not be written (%s); it is kept in the table metrics_rejected",
                type(error).__name__,
            )
            self.reject(f"internal fault: {type(error).__name__}", batch)
        return receipt

    def write_events(self, source: Source, events: list[TaskEvent]) -> None:
        """Write events that did not come through the queue.

        Raises:
            DatabaseUnavailable: If the database cannot take them now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        self._transact([Delivered(source, events, [])])

    def reject(self, reason: str, payload: str) -> None:
        """Keep a message that is not a batch of ours, with the reason.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        with translating(self._url):
            self._prepare()
            with self._engine.begin() as connection:
                _reject(connection, None, Unreadable(reason, payload))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _transact(self, delivered: list[Delivered]) -> None:
        # In one order everywhere: two writers with parts of the same sources do not wait in a circle.
        delivered = sorted(delivered, key=lambda part: part.source.source_id)
        with translating(self._url):
            self._prepare()
            try:
                self._try_ways(delivered)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._try_ways(delivered)  # the connection had been closed while nothing was to do

    def _try_ways(self, delivered: list[Delivered]) -> None:
        for way in WAYS:
            try:
                with self._engine.begin() as connection:
                    way(connection, delivered, self._price)
                break
            except DBAPIError as error:
                if way is WAYS[-1] or not is_data_error(error):
                    raise

    def _prepare(self) -> None:
        """Check the schema, and make partitions ahead, once an hour."""
        now = now_us()
        if now - self._checked_at_us > PARTITION_CHECK_US:
            with self._engine.begin() as connection:
                check_schema(connection)
            self._make_partitions(now)
            self._checked_at_us = now

    def _make_partitions(self, now: int) -> None:
        """Make partitions weeks ahead; while somebody reads the table for long, that can wait for an hour."""
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
                partitions.ensure(connection, from_us(now))
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise


def _write(
    connection: sa.Connection, delivered: list[Delivered], price: Price, insert_incoming: InsertIncoming
) -> None:
    """Write rows, rollups and books; raises if an event breaks a rule of the database."""
    rejected = _reject_unreadable(connection, delivered)
    events = _unique(delivered)
    there_already = []
    if events:
        incoming.fill(connection, (row for _, event in events.values() for row in rows_of(event, price)))
        there_already = insert_incoming(connection)
    written = Counter(sender for sender, _ in events.values())
    written.subtract(events[event_id, to_us(created_at)][0] for event_id, created_at in there_already)
    _keep_books(connection, delivered, written, rejected)


def _write_one_by_one(connection: sa.Connection, delivered: list[Delivered], price: Price) -> None:
    """The same, but the events that break a rule are kept aside with the reason."""
    rejected = _reject_unreadable(connection, delivered)
    written: Counter[int] = Counter()
    for sender, event in _unique(delivered).values():
        try:
            with connection.begin_nested():
                incoming.fill(connection, rows_of(event, price))
                there_already = incoming.insert_missing(connection)
                incoming.clear(connection)
            written[sender] += 1 - len(there_already)
        except DBAPIError as error:
            rejected[sender] += _reject_event(connection, delivered[sender].source, event, error)
    _keep_books(connection, delivered, written, rejected)


# Each is slower than the one before, and takes more: nearly every message has only new events that break no rule.
WAYS = (
    functools.partial(_write, insert_incoming=incoming.insert_all),
    functools.partial(_write, insert_incoming=incoming.insert_missing),
    _write_one_by_one,
)


def _unique(delivered: list[Delivered]) -> dict[tuple[str, int], tuple[int, TaskEvent]]:
    """Every event once, by its id and its end in microseconds, with the number of its sender.

    The id alone will not do: Celery's pool hands a task whose child died at once to another child, with the same
    request, and both have run.
    """
    return {
        (event.event_id, event.ended_at_us): (sender, event)
        for sender, part in enumerate(delivered)
        for event in part.events
    }


def _reject_unreadable(connection: sa.Connection, delivered: list[Delivered]) -> Counter[int]:
    """Keep what cannot be read; by sender how much."""
    rejected: Counter[int] = Counter()
    for sender, part in enumerate(delivered):
        rejected[sender] += sum(_reject(connection, part.source, one) for one in part.unreadable)
    return rejected


def _reject_event(connection: sa.Connection, source: Source, event: TaskEvent, error: DBAPIError) -> int:
    """Keep an event that breaks a rule of the database."""
    if not is_data_error(error):
        raise error
    diagnosis = getattr(error.orig, "diag", None)
    parts = (getattr(diagnosis, "constraint_name", None), getattr(diagnosis, "message_primary", None))
    reason = ": ".join(part for part in parts if part)
    return _reject(connection, source, Unreadable(reason, msgspec.json.encode(event).decode()))


def _reject(connection: sa.Connection, source: Source | None, unreadable: Unreadable) -> int:
    """Keep what could not be written; 1, or 0 if the same payload was kept before."""
    payload = unreadable.payload
    found = connection.execute(
        insert(metrics_rejected)
        .values(
            payload_hash=hashlib.sha256(payload.encode("utf-8", "replace")).hexdigest(),
            source_id=source.source_id if source else None,
            reason=_storable(unreadable.reason),
            payload=_storable(payload),
        )
        .on_conflict_do_nothing()
        .returning(metrics_rejected.c.id)
    )
    return len(found.all())


def _storable(text: str) -> str:
    """A text as PostgreSQL takes it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _keep_books(
    connection: sa.Connection, delivered: list[Delivered], written: Counter[int], rejected: Counter[int]
) -> None:
    """Add to the books of every source what became of its events."""
    now = from_us(now_us())
    sources = [
        {
            "source_id": part.source.source_id,
            "host": part.source.host,
            "pid": part.source.pid,
            "captured": part.source.captured,
            "written": written[sender],
            "rejected": rejected[sender],
            "duplicates": len(part.events) + len(part.unreadable) - written[sender] - rejected[sender],
            "dropped": part.source.dropped,
            "excluded": part.source.excluded,
            "sampled_out": part.source.sampled_out,
            "first_seen_at": now,
            "last_seen_at": now,
        }
        for sender, part in enumerate(delivered)
    ]
    if sources:
        connection.execute(ADD_TO_BOOKS, sources)
