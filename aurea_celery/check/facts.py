"""What ``aurea check`` looks at: the outboxes of this host, the queue, and the books."""

from __future__ import annotations

import itertools
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aurea_celery.clock import now_us, to_us
from aurea_celery.delivery.folders import outbox_roots
from aurea_celery.delivery.outbox_look import FoundFolder, OutboxLook, events_in, look_at_outbox
from aurea_celery.events import Source, clean_text
from aurea_celery.price_lists import ListPrices, list_prices
from aurea_celery.queue_look import address_of, bound_calls, waiting_messages
from aurea_celery.settings import Settings
from aurea_celery.storage.audit import audit
from aurea_celery.storage.books import Books, ProcessBooks
from aurea_celery.storage.pulse import WRITING_SECONDS, Pulse
from aurea_celery.storage.unwritten import Unwritten

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

SECOND_LOOK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The broker without its password, and how many messages wait there; None if it does not answer."""

    url: str
    messages: int | None


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the outboxes of this host hold that is not written: events by ``source_id``, and the age of the oldest."""

    root: str
    events: dict[str, int]
    oldest_seconds: float | None
    unreadable: int

    @property
    def count(self) -> int:
        """All of it."""
        return sum(self.events.values())


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known. ``broker`` is None where none was named, ``held`` where this host has no outbox for it."""

    host: str
    queue: str
    books: Books
    processes: list[ProcessBooks]
    rollup_differences: dict[str, int]
    rows_in_default: int
    pulse: Pulse
    broker: Broker | None
    held: Held | None
    list_prices: ListPrices

    @property
    def messages(self) -> int | None:
        """How many messages wait in the queue, where that is known."""
        return self.broker.messages if self.broker else None

    def missing_of(self, process: ProcessBooks) -> int:
        """Return how much of what is pending is nowhere: neither in an outbox of its host, nor in the queue.

        That is known of the processes of this host. A writer may have it in hand for a moment.
        """
        is_recent = process.seconds_unseen is None or process.seconds_unseen < WRITING_SECONDS
        if process.host != self.host or self.held is None or is_recent or self.messages != 0:
            return 0
        return process.pending - self.held.events.get(process.source_id, 0)


def gather(database_url: str, settings: Settings, app: Celery | None, *, every_process: bool = False) -> Facts:
    """Look at everything; ``app`` is the way to the broker, None where none is known.

    What is found to wait for a writer, or to be missing, may be about to be written: then it is looked at once more.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the database does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    facts = _look(database_url, settings, app, every_process)
    waits_for_a_writer = facts.messages and facts.pulse.writer(facts.messages) == "silent"
    if waits_for_a_writer or any(facts.missing_of(process) for process in facts.processes):
        time.sleep(SECOND_LOOK_SECONDS)
        facts = _look(database_url, settings, app, every_process)
    return facts


def _look(database_url: str, settings: Settings, app: Celery | None, every_process: bool) -> Facts:
    outbox, broker = None, None
    if app is not None:
        timeout = settings.broker_timeout_seconds
        with app.connection_for_write(settings.broker_url or None, connect_timeout=timeout, heartbeat=0) as connection:
            outbox = look_at_outbox(outbox_roots(connection, settings))
            broker = _ask(bound_calls(connection, timeout), settings.queue)
    found = _by_process(outbox.folders) if outbox else {}
    events = {
        source_id: itertools.chain.from_iterable(events_in(one.path) for one in folders)
        for source_id, folders in found.items()
    }
    audited = audit(database_url, events, every_process=every_process)
    processes = _with_found(audited.processes, {source_id: _newest(folders) for source_id, folders in found.items()})
    return Facts(
        host=clean_text(socket.gethostname()),
        queue=settings.queue,
        books=_grown(audited.books, audited.processes, processes),
        processes=processes,
        rollup_differences=audited.rollup_differences,
        rows_in_default=audited.rows_in_default,
        pulse=audited.pulse,
        broker=broker,
        held=_held(outbox, processes, audited.unwritten) if outbox else None,
        list_prices=list_prices(audited.fetched_prices),
    )


def _ask(connection: Connection, queue: str) -> Broker:
    try:
        messages = waiting_messages(connection, queue)
    except Exception:  # the transports' errors share no base class
        return Broker(url=address_of(connection), messages=None)
    return Broker(url=address_of(connection), messages=messages)


def _by_process(folders: list[FoundFolder]) -> dict[str, list[FoundFolder]]:
    """Group folders by their process, which may have begun a new one."""
    found: dict[str, list[FoundFolder]] = {}
    for one in folders:
        found.setdefault(one.source.source_id, []).append(one)
    return found


def _newest(folders: list[FoundFolder]) -> FoundFolder:
    """Return the one of a process's folders that knows most of it."""
    return max(folders, key=lambda one: one.source.captured)


def _with_found(known: list[ProcessBooks], found: dict[str, FoundFolder]) -> list[ProcessBooks]:
    """The books of processes, with what their outboxes say and no message has told yet."""
    known_ids = {book.source_id for book in known}
    new = [_new_books(one) for source_id, one in found.items() if source_id not in known_ids]
    return [_told(book, found[book.source_id].source) if book.source_id in found else book for book in known + new]


def _told(book: ProcessBooks, source: Source) -> ProcessBooks:
    dropped = {
        reason: max(book.dropped_by_reason.get(reason, 0), source.dropped.get(reason, 0))
        for reason in sorted(book.dropped_by_reason.keys() | source.dropped.keys())
    }
    captured = max(book.captured, source.captured, book.written + book.rejected + sum(dropped.values()))
    return msgspec.structs.replace(book, captured=captured, dropped_by_reason=dropped)


def _new_books(folder: FoundFolder) -> ProcessBooks:
    source = folder.source
    return ProcessBooks(
        source_id=source.source_id,
        host=source.host,
        pid=source.pid,
        captured=0,
        published=0,
        written=0,
        rejected=0,
        duplicates=0,
        dropped_by_reason={},
        seconds_unseen=folder.seconds_unseen,
    )


def _grown(books: Books, before: list[ProcessBooks], after: list[ProcessBooks]) -> Books:
    """The whole, with what the outboxes have added to its parts."""
    reasons = dict(books.dropped_by_reason)
    for sign, processes in ((-1, before), (1, after)):
        for process in processes:
            for reason, count in process.dropped_by_reason.items():
                reasons[reason] = reasons.get(reason, 0) + sign * count
    captured = books.captured + sum(one.captured for one in after) - sum(one.captured for one in before)
    dropped = sum(reasons.values())
    return msgspec.structs.replace(
        books,
        captured=captured,
        dropped=dropped,
        dropped_by_reason=reasons,
        pending=captured - books.written - books.rejected - dropped,
    )


def _held(outbox: OutboxLook, processes: list[ProcessBooks], unwritten: dict[str, Unwritten]) -> Held:
    """What the outboxes hold that is not written; an event stays there until it is, so that others are held too."""
    events = {
        one.source_id: min(one.pending, unwritten[one.source_id].events)
        for one in processes
        if one.source_id in unwritten
    }
    oldest_at = min((one.oldest_at for one in unwritten.values() if one.oldest_at), default=None)
    return Held(
        root=str(outbox.root),
        events=events,
        oldest_seconds=None if oldest_at is None else max(0.0, (now_us() - to_us(oldest_at)) / 1e6),
        unreadable=outbox.unreadable,
    )
