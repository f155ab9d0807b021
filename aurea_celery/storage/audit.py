"""The audit: are all events accounted for, and do the sums agree with their rows?"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage import partitions
from aurea_celery.storage.books import Books, ProcessBooks, read_books, read_process_books
from aurea_celery.storage.database import check_schema, create_engine, translating
from aurea_celery.storage.prices import Edition, edition_without_data
from aurea_celery.storage.pulse import Pulse, read_pulse
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.unwritten import EventKey, Unwritten, find_unwritten

NO_OUTBOXES: Mapping[str, Iterable[Collection[EventKey]]] = MappingProxyType({})


class Audit(Struct, frozen=True, kw_only=True):
    """The books, and how many sums of each rollup differ from what they are made of.

    ``processes`` are those that were asked for, and those of which something is missing; ``unwritten`` is what is not
    written of the events in their outboxes; ``fetched_prices`` is the edition of the list prices that was fetched, and
    when.
    """

    books: Books
    processes: list[ProcessBooks]
    unwritten: dict[str, Unwritten]
    pulse: Pulse
    rollup_differences: dict[str, int]
    rows_in_default: int
    fetched_prices: Edition | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was dropped and every sum agrees with its rows."""
        return not self.books.dropped and not self.rollup_differences


def audit(
    url: str, outboxes: Mapping[str, Iterable[Collection[EventKey]]] = NO_OUTBOXES, *, every_process: bool = False
) -> Audit:
    """Audit a database, as it is at one moment; reads every row, and takes as long as that takes.

    Args:
        url: The database.
        outboxes: The events that are in the outboxes of some processes, in batches, by ``source_id``.
        every_process: Whether the books of every process are returned, also where nothing is missing.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with at_one_moment(url) as connection:
        return Audit(
            books=read_books(connection),
            processes=read_process_books(connection, outboxes.keys(), every_process=every_process),
            unwritten={source_id: find_unwritten(connection, held) for source_id, held in outboxes.items()},
            pulse=read_pulse(connection),
            rollup_differences=rollup_differences(connection),
            rows_in_default=partitions.count_default(connection),
            fetched_prices=edition_without_data(connection),
        )


@contextlib.contextmanager
def at_one_moment(url: str) -> Iterator[sa.Connection]:
    """A transaction on a checked schema that sees one moment and has all the time it needs.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with _unhurried(url) as connection:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        # Held before the moment is taken: a partition that is dropped after it would be missing from it.
        connection.execute(sa.text("LOCK TABLE ONLY metrics IN ACCESS SHARE MODE"))
        check_schema(connection)
        yield connection


@contextlib.contextmanager
def _unhurried(url: str) -> Iterator[sa.Connection]:
    """A transaction without the limit that statements have elsewhere; nothing was read in it yet."""
    engine = create_engine(url)
    try:
        with translating(url), engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            yield connection
    finally:
        engine.dispose()
