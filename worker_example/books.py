"""The books of aurea-celery: what became of every captured execution."""

from __future__ import annotations

from typing import NamedTuple

from aurea_celery.storage import books
from aurea_celery.storage.database import create_engine, translating


class Books(NamedTuple):
    """Executions captured, and what became of them."""

    captured: int
    written: int
    rejected: int
    pending: int
    lost: int

    @property
    def balanced(self) -> bool:
        """Whether everything that was captured is written."""
        return self.captured == self.written and not (self.rejected or self.pending or self.lost)

    def since(self, before: Books) -> Books:
        """What was added to earlier books of the same database."""
        return Books(*(now - then for now, then in zip(self, before, strict=True)))

    def __str__(self) -> str:
        """The line of the report.

        >>> print(Books(3, 3, 0, 0, 0))
        captured 3  written 3  rejected 0  pending 0  lost 0
        """
        return "  ".join(f"{name} {count}" for name, count in self._asdict().items())


def read_books(database_url: str) -> Books:
    """The books of all processes as they are now.

    Raises:
        DatabaseUnavailable: If the database does not answer.
    """
    engine = create_engine(database_url, pool_size=1)
    try:
        with translating(database_url), engine.connect() as connection:
            found = books.read_books(connection)
    finally:
        engine.dispose()
    return Books(found.captured, found.written, found.rejected, found.pending, found.dropped)
