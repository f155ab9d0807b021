"""Writing batches: rows, rollups and the books in one transaction, exactly once by ``event_id``."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from aurea_celery._guard import log_once_a_minute
from aurea_celery.budget import BudgetStates
from aurea_celery.clock import from_us, to_us
from aurea_celery.errors import DatabaseError
from aurea_celery.events import Receipt, Source, TaskEvent, clean_text
from aurea_celery.foreign import describe, is_ours, read_description
from aurea_celery.storage import incoming, posted, prices
from aurea_celery.storage.bookkeeping import Entry, is_believable, keep_books, without_claims
from aurea_celery.storage.budgets import read_states
from aurea_celery.storage.chores import Chores
from aurea_celery.storage.database import create_engine, is_data_error, translating
from aurea_celery.storage.delivered import Delivered, Unreadable, read_batch
from aurea_celery.storage.rows import Price, rows_of
from aurea_celery.storage.schema import metrics_rejected

logger = logging.getLogger("aurea_celery")

MakePricing = Callable[[prices.Lists], prices.Pricing]

InsertIncoming = Callable[[sa.Connection], list[incoming.Key]]
"""Inserts what is incoming; the keys of the events that were there already."""


Attempt = Callable[[sa.Connection, "list[Delivered]", Price], None]
"""Writes what was delivered, in a transaction."""


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
        self._engine = create_engine(url, pre_ping=False)  # it would be a round trip for every message
        self._chores = Chores(self._engine)

    def write(self, batch: str, message_id: str | None = None) -> Receipt | None:
        """Write a message's batch and return once it is committed; what cannot be written is kept with the reason.

        Of what is not ours only a description is kept; ``message_id`` tells it from others with the same text.

        Returns:
            The receipt that the sender asks for, if it does.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
            MemoryError: If there is not enough for it now; nothing was written.
        """
        try:
            delivered, receipt, is_repetition = read_batch(batch)
        except msgspec.DecodeError as error:
            self.reject(*_kept_of(batch, message_id, error))
            return None
        delivered = [_believed(part) for part in delivered]
        try:
            self._transact(delivered, WAYS[1:] if is_repetition else WAYS)
        except (DatabaseError, MemoryError):
            raise
        except Exception as error:  # a fault of ours must not cost the events
            logger.error(  # noqa: TRY400 - a traceback would show the host's names
                "aurea-celery: a batch could not be written (%s); it is kept in the table metrics_rejected",
                type(error).__name__,
            )
            self.reject(f"internal fault: {type(error).__name__}", batch, delivered)
        return receipt

    def write_events(
        self, source: Source, events: list[TaskEvent], digests: posted.Digests = MappingProxyType({})
    ) -> dict[str, datetime]:
        """Write events that came in a request to the API, all of them or none.

        Args:
            source: Who took them; what it has captured is what was written.
            events: Each with another id.
            digests: Of those whose id the client gave, what was posted.

        Returns:
            Those that were posted before, by id, with the time of the event that has it; they are not written again,
            and the books do not count them.

        Raises:
            EventConflict: If something else was posted before with one of the ids; nothing was written.
            DatabaseUnavailable: If the database cannot take them now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
            sqlalchemy.exc.DBAPIError: If one breaks a rule of the database; nothing was written.
        """
        known: dict[str, datetime] = {}
        ways = [functools.partial(_write_new, way=way, digests=digests, known=known) for way in WHOLE_WAYS]
        self._transact([Delivered(source, events, [], "api")], ways)
        return known

    def reject(self, reason: str, payload: str, delivered: Sequence[Delivered] = ()) -> None:
        """Keep a message that cannot be written, with the reason; ``delivered`` is what it holds, where that is known.

        Raises:
            DatabaseUnavailable: If the database cannot take it now; nothing was written.
            SchemaMismatch: If the tables are not those of this release; nothing was written.
        """
        with translating(self._url):
            self._chores.do_what_is_due()
            with self._engine.begin() as connection:
                kept = _reject(connection, None, Unreadable(reason, payload))
                _note_rejected(connection, delivered, kept)

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

    def _transact(self, delivered: list[Delivered], ways: Sequence[Attempt]) -> None:
        # In one order everywhere: two writers with parts of the same sources do not wait in a circle.
        delivered = sorted(delivered, key=lambda part: part.source.source_id)
        with translating(self._url):
            self._chores.do_what_is_due()
            try:
                self._try_ways(delivered, ways)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._try_ways(delivered, ways)  # the connection had been closed while nothing was to do

    def _try_ways(self, delivered: list[Delivered], ways: Sequence[Attempt]) -> None:
        for way in ways:
            try:
                with self._engine.begin() as connection:
                    pricing = self._current_pricing(connection)
                    way(connection, delivered, pricing.cost)
                    used = {name: one for name, one in pricing.used.items() if name not in self._kept_prices}
                    prices.keep_used(connection, used)
                self._kept_prices |= used.keys()
                break
            except DBAPIError as error:
                if way is ways[-1] or not is_data_error(error):
                    raise

    def _current_pricing(self, connection: sa.Connection) -> prices.Pricing:
        changed = self._lists.changed(connection)
        if changed is not None or self._pricing is None:
            self._pricing = self._make_pricing(changed or prices.read_lists(connection))
        return self._pricing


def _believed(part: Delivered) -> Delivered:
    """Leave out counts that the sender cannot have reached: whoever adds them up would be told nonsense."""
    if is_believable(part.source):
        return part
    log_once_a_minute(
        "claims",
        logging.WARNING,
        "aurea-celery: the process with pid %d of host %r claims counts that cannot be; its events are written, its"
        " counts are left out",
        part.source.pid,
        part.source.host,
    )
    return part._replace(source=without_claims(part.source))


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


def _write_new(
    connection: sa.Connection,
    delivered: list[Delivered],
    price: Price,
    *,
    way: Attempt,
    digests: posted.Digests,
    known: dict[str, datetime],
) -> None:
    """Write what one client posts, but for what it posted before; that goes to ``known``."""
    (part,) = delivered
    known.clear()
    known.update(posted.take(connection, part.events, digests))
    new = [event for event in part.events if event.event_id not in known]
    if new:
        way(connection, [part._replace(events=new)], price)


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
WHOLE_WAYS: tuple[Attempt, ...] = (
    functools.partial(_write, insert_incoming=incoming.insert_all),
    functools.partial(_write, insert_incoming=incoming.insert_missing),
)
WAYS = (*WHOLE_WAYS, _write_one_by_one)


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


def _kept_of(text: str, message_id: str | None, error: msgspec.DecodeError) -> tuple[str, str]:
    """The reason and the payload to keep of what is not a batch that can be read; the same if it comes again."""
    described = read_description(text)
    reason = f"not a batch of events: {described.why if described else error}"
    if described or is_ours(text):
        return reason, text
    return reason, describe(clean_text(error), None, message_id, text).decode()


def _note_rejected(connection: sa.Connection, delivered: Sequence[Delivered], kept: int) -> None:
    """Note in the books that a batch was rejected whole, unless the books are what cannot be written."""
    rejected = Counter({sender: kept * (len(one.events) + len(one.unreadable)) for sender, one in enumerate(delivered)})
    try:
        with connection.begin_nested():
            _keep_books(connection, delivered, Counter(), rejected)
    except ValueError:  # NUL, which the driver does not even send
        return
    except DBAPIError as error:
        if not is_data_error(error):
            raise


def _storable(text: str) -> str:
    """A text as PostgreSQL takes it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _keep_books(
    connection: sa.Connection, delivered: Sequence[Delivered], written: Counter[int], rejected: Counter[int]
) -> None:
    """Add to the books of every source what became of its events."""
    keep_books(
        connection,
        [
            Entry(
                source=part.source,
                written=written[sender],
                rejected=rejected[sender],
                duplicates=len(part.events) + len(part.unreadable) - written[sender] - rejected[sender],
                through=part.through,
                last_event_at=from_us(max(event.ended_at_us for event in part.events)) if written[sender] else None,
            )
            for sender, part in enumerate(delivered)
        ],
    )
