"""The audit: are all events accounted for, and do the sums agree with their rows?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.storage import rollups
from aurea_celery.storage.database import check_schema, create_engine, translating
from aurea_celery.storage.queries import Books, reconcile, rollup_differences


class Audit(Struct, frozen=True, kw_only=True):
    """The books, and how many sums of each rollup differ from the rows they are made of."""

    books: Books
    rollup_differences: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost and every sum agrees with its rows."""
        return not self.books.dropped and not self.rollup_differences

    def as_json(self) -> bytes:
        """The audit for machines: one object with the books' numbers and ``rollup_differences``."""
        return msgspec.json.encode(
            {**msgspec.structs.asdict(self.books), "rollup_differences": self.rollup_differences}
        )

    def as_text(self) -> str:
        """The audit for people: the books in one line, then what is wrong."""
        books = self.books
        lines = [
            f"captured {books.captured}  written {books.written}  rejected {books.rejected}"
            f"  pending {books.pending}  lost {books.dropped}"
        ]
        left_out = {"excluded": books.excluded, "sampled out": books.sampled_out}
        lines += [f"left out by the settings: {count} {how}" for how, count in left_out.items() if count]
        lines += [f"lost because of {reason}: {count}" for reason, count in sorted(books.dropped_by_reason.items())]
        lines += [
            f"{table}: {count} sums differ from the rows; make them anew: aurea db rebuild"
            for table, count in sorted(self.rollup_differences.items())
        ]
        return "\n".join(lines)


def audit(url: str) -> Audit:
    """Audit a database; reads every row, and takes as long as that takes.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with _unhurried(url) as connection:
        return Audit(books=reconcile(connection), rollup_differences=rollup_differences(connection))


def rebuild(url: str) -> None:
    """Make every rollup anew from the rows; takes as long as reading them takes.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with _unhurried(url) as connection:
        rollups.rebuild(connection)


@contextlib.contextmanager
def _unhurried(url: str) -> Iterator[sa.Connection]:
    """A transaction on a checked schema, without the limit that statements have elsewhere."""
    engine = create_engine(url)
    try:
        with translating(url), engine.begin() as connection:
            check_schema(connection)
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            yield connection
    finally:
        engine.dispose()
