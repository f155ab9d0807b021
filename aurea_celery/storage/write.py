"""Writing batches: rows, rollups and the books in one transaction, exactly once by ``event_id``."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from aurea_celery.budget import BudgetStates
from aurea_celery.clock import from_us, now_us
from aurea_celery.errors import DatabaseError
from aurea_celery.events import Receipt, Source, TaskEvent, decode_batch, decode_event
from aurea_celery.storage import incoming, partitions, prices
from aurea_celery.storage.budgets import read_states
from aurea_celery.storage.database import check_schema, create_engine, is_data_error, translating
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


MakePricing = Callable[[prices.Lists], prices.Pricing]

InsertIncoming = Callable[[sa.Connection], list[incoming.Key]]
"""Inserts what is incoming; the keys of the events that were there already."""


class Unreadable(NamedTuple):
    """A payload that is not one of ours, and why."""

    reason: str
    payload: str


class Delivered(NamedTuple):
    """One source's part of a batch: events that can be read, and payloads that cannot."""

    source: Source
    events: list[TaskEvent]
    unreadable: list[Unreadable]


class Writer:
    """Writes batches to one database. One per process; connects on first use.

    Args:
        url: The database.
        make_pricing: Makes what prices calls of what the tables of prices say; called again when they have changed.
            :func:`aurea_celery.price_lists.pricing_of` is the real one.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """

    def __init__(self, url: str, make_pricing: MakePricing) -> None:
        self._url = url
        self._make_pricing = make_pricing
        self._lists = prices.PriceLists()
        self._pricing: prices.Pricing | None = None
        self._kept_prices: set[str] = set()
        self._engine = create_engine(url)
        self._checked_at_us = 0

    def write(self, batch: str) -> Receipt | None:
        """Write a message's batch and return once it is committed; what cannot be written is kept with the reason.

        Returns:
            The receipt that the sender asks for, if it does.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        try:
            decoded = decode_batch(batch)
        except msgspec.DecodeError as error:
            self.reject(f"not a batch of events: {error}", batch)
            return None
        try:
            self._transact([_delivered(one.source, one.events) for one in decoded.sources])
        except DatabaseError:
            raise
        except Exception as error:  # a fault of ours must not cost the events
            logger.error(  # noqa: TRY400 - a traceback would show the host's names
                "aurea-celery: a batch could not be written (%s); it is kept in the table metrics_rejected",
                type(error).__name__,
            )
            self.reject(f"internal fault: {type(error).__name__}", batch)
        return decoded.receipt

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

    def budgets(self) -> BudgetStates:
        """The states of budgets that matter to the processes that run tasks.

        Raises:
            DatabaseUnavailable: If the database does not answer.
            SchemaMismatch: If the tables are missing.
        """
        with translating(self._url), self._engine.connect() as connection:
            return read_states(connection)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _transact(self, delivered: list[Delivered]) -> None:
        # In one order everywhere: two writers with parts of the same sources do not wait in a circle.
        delivered = sorted(delivered, key=lambda part: part.source.source_id)
        with translating(self._url):
            self._prepare()
            for way in WAYS:
                try:
                    with self._engine.begin() as connection:
                        pricing = self._current_pricing(connection)
                        way(connection, delivered, pricing.cost)
                        used = {name: one for name, one in pricing.used.items() if name not in self._kept_prices}
                        prices.keep_used(connection, used)
                    self._kept_prices |= used.keys()
                    break
                except DBAPIError as error:
                    if way is WAYS[-1] or not is_data_error(error):
                        raise

    def _current_pricing(self, connection: sa.Connection) -> prices.Pricing:
        changed = self._lists.changed(connection)
        if changed is not None or self._pricing is None:
            self._pricing = self._make_pricing(changed or prices.read_lists(connection))
        return self._pricing

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


def _delivered(source: Source, raw_events: list[msgspec.Raw]) -> Delivered:
    events, unreadable = [], []
    for raw in raw_events:
        try:
            events.append(decode_event(raw))
        except msgspec.DecodeError as error:
            unreadable.append(Unreadable(str(error), bytes(raw).decode("utf-8", "replace")))
    return Delivered(source, events, unreadable)


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
    written.subtract(events[key][0] for key in there_already)
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


def _unique(delivered: list[Delivered]) -> dict[incoming.Key, tuple[int, TaskEvent]]:
    """Every event once, by its key, with the number of its sender.

    The id alone will not do: Celery's pool hands a task whose child died at once to another child, with the same
    request, and both have run.
    """
    return {
        (event.event_id, from_us(event.ended_at_us)): (sender, event)
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
            reason=unreadable.reason,
            payload=payload.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}"),
        )
        .on_conflict_do_nothing()
        .returning(metrics_rejected.c.id)
    )
    return len(found.all())


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
