"""Whether the tables are those of this release: what is missing or different. More of the user's own is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aurea_celery.storage import budget_tables  # noqa: F401 - its tables belong to the same metadata
from aurea_celery.storage.schema import metadata

ADVICE = (
    "they were made by another build of aurea-celery, or changed by hand: put back what is missing, or make a new"
    " database"
)

_CHECKS = sa.text(
    "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY(CAST(:tables AS regclass[]))"
)


def table_differences(connection: sa.Connection) -> list[str]:
    """What the tables lack of this release's, in words; empty if nothing."""
    context = MigrationContext.configure(connection, opts={"include_name": _is_ours, "compare_type": True})
    found = [words for one in compare_metadata(context, metadata) for words in _words(one)]
    return found or [f"the constraint {name} is missing" for name in sorted(_checks() - _checks_of(connection))]


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in metadata.tables


def _words(difference: Any) -> Iterator[str]:
    """Alembic tells what it would do, as a tuple, or a list of them for one column."""
    if isinstance(difference, list):
        yield from (f"the column {one[2]}.{one[3]} is different" for one in difference)
    elif difference[0] == "add_column":
        yield f"the column {difference[2]}.{difference[3].name} is missing"
    elif difference[0].startswith("add_"):
        yield f"the {difference[0].removeprefix('add_')} {difference[1].name} is missing"


def _checks() -> set[str]:
    constraints = [one for table in metadata.tables.values() for one in table.constraints]
    return {str(one.name) for one in constraints if isinstance(one, sa.CheckConstraint)}


def _checks_of(connection: sa.Connection) -> set[str]:
    return set(connection.scalars(_CHECKS, {"tables": list(metadata.tables)}))
