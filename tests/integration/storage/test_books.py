"""The books: they balance, whatever a process could still say, and in whatever order it is heard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from aurea_celery.delivery.outbox import Outbox
from aurea_celery.events import Cost, ModelCall, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.pricing import PriceBook
from aurea_celery.storage.books import Books, read_books, read_process_books
from aurea_celery.storage.write import Writer
from tests.support.databases import connected
from tests.support.recorded import execution, source, write

pytestmark = pytest.mark.clock("leap-day")


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    with connected(database_url) as opened:
        yield opened


def test_empty_books_balance(connection: sa.Connection) -> None:
    books = read_books(connection)

    assert books == Books(
        captured=0,
        published=0,
        written=0,
        rejected=0,
        pending=0,
        dropped=0,
        duplicates=0,
        excluded=0,
        sampled_out=0,
        dropped_by_reason={},
    )


def test_books_sum_over_processes_and_balance(connection: sa.Connection, database_url: str) -> None:
    again = execution()
    sender = source(captured=3)
    write(database_url, again, execution(), sender=sender)  # one is still on its way
    write(database_url, again, sender=sender)
    write(database_url, execution(), sender=source(captured=6, outbox_full=2, memory_full=1))
    settings_say = msgspec.structs.replace(source(captured=4, outbox_full=4), excluded=5, sampled_out=2)
    write(database_url, sender=settings_say)
    write(database_url, sender=msgspec.structs.replace(settings_say, excluded=3))  # sent earlier, arrived later

    books = read_books(connection)

    assert books == Books(
        captured=13,
        published=6,
        written=3,
        rejected=0,
        pending=3,
        dropped=7,
        duplicates=1,
        excluded=5,
        sampled_out=2,
        dropped_by_reason={"memory_full": 1, "outbox_full": 6},
    )
    assert books.captured == books.written + books.rejected + books.pending + books.dropped


def test_a_rejected_event_is_not_pending(connection: sa.Connection, database_url: str) -> None:
    writer = Writer(database_url, pricing_of)
    writer.write(encode_batch([(source(captured=2), [b'{"event_id": "wrong"}'])]).decode())
    writer.close()

    books = read_books(connection)

    assert (books.captured, books.written, books.rejected, books.pending) == (2, 0, 1, 1)


def test_a_process_that_died_before_it_could_report_still_balances(
    connection: sa.Connection, database_url: str
) -> None:
    write(database_url, execution(), execution(), sender=source(captured=1, damaged=1))
    write(database_url, execution(), sender=source(captured=5))

    books = read_books(connection)

    assert (books.captured, books.written, books.dropped, books.pending) == (8, 3, 1, 4)


def test_a_full_outbox_drops_what_it_has_captured(connection: sa.Connection, database_url: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, batch_events=1, max_bytes=1)
    first, *rest = [execution() for _ in range(5)]
    outbox.finish(first)
    for event in rest:
        outbox.finish(event)
    write(database_url, first, sender=outbox.source)

    books = read_books(connection)

    assert (books.captured, books.written, books.pending, books.dropped) == (5, 1, 0, 4)
    assert books.dropped_by_reason == {"outbox_full": 4}


def test_what_was_dropped_is_kept_whichever_report_comes_last(connection: sa.Connection, database_url: str) -> None:
    first = source(captured=5, damaged=2)
    for dropped in ({"outbox_full": 1}, {}, {"outbox_full": 1, "damaged": 1}):
        write(database_url, sender=msgspec.structs.replace(first, dropped=dropped))
    write(database_url, sender=first)

    books = read_books(connection)

    assert books.dropped_by_reason == {"damaged": 2, "outbox_full": 1}
    assert (books.dropped, books.pending) == (3, 2)


def test_a_batch_that_is_rejected_whole_is_not_pending(connection: sa.Connection, database_url: str) -> None:
    class Broken(PriceBook):
        def cost(self, call: ModelCall, at: datetime) -> Cost:
            raise ZeroDivisionError

    writer = Writer(database_url, lambda _: Broken())
    batch = encode_batch([(source(captured=2), [encode(execution()), encode(execution())])]).decode()
    for _ in range(2):
        writer.write(batch)
    writer.close()

    books = read_books(connection)

    assert (books.captured, books.rejected, books.pending, books.duplicates) == (2, 2, 0, 2)


def test_the_processes_that_are_asked_for_are_read(connection: sa.Connection, database_url: str) -> None:
    settled, open_one, dropping = source(captured=1), source(captured=2), source(captured=2, outbox_full=1)
    for sender in (settled, open_one, dropping):
        write(database_url, execution(), sender=sender)

    missing = read_process_books(connection)
    named = read_process_books(connection, [settled.source_id])
    every = read_process_books(connection, every_process=True)

    assert [one.source_id for one in missing] == [open_one.source_id, dropping.source_id]
    assert len(named) == len(every) == 3
    assert [(one.captured, one.published, one.written, one.dropped, one.pending) for one in every] == [
        (1, 1, 1, 0, 0),
        (2, 2, 1, 0, 1),
        (2, 1, 1, 1, 0),
    ]
