"""The condition of the database: tables, partitions, and whether sums agree with their rows."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from aurea_celery.storage import condensed, partitions, retention
from aurea_celery.storage.audit import at_one_moment
from aurea_celery.storage.comparison import ADVICE, table_differences
from aurea_celery.storage.database_clock import database_now
from aurea_celery.storage.migrate import HEAD_REVISION
from aurea_celery.storage.pulse import counted
from aurea_celery.storage.queries import rollup_differences


class Condition(Struct, frozen=True, kw_only=True):
    """What was found. ``weeks_in_default`` are those whose rows in the default partition can be moved out of it.

    ``hours_to_condense`` are over; until that is done, answers about a long time that they are in take longer. It and
    ``rollup_differences`` are None where the tables are others, so that sums cannot be compared. ``horizon`` is from
    when on all rows are there, None if none was ever dropped.
    """

    is_made_ahead: bool
    made_until: datetime
    rows_in_default: int
    weeks_in_default: int
    hours_to_condense: int | None
    table_differences: list[str]
    rollup_differences: dict[str, int] | None
    horizon: datetime | None

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to do."""
        is_wrong = self.table_differences or self.rollup_differences
        return self.is_made_ahead and not self.weeks_in_default and not is_wrong

    def sentences(self) -> list[str]:
        """One for each thing that was looked at."""
        hours = self._about_hours()
        return [
            f"The schema is that of this release ({HEAD_REVISION}).",
            self._about_tables(),
            self._about_partitions(),
            self._about_default(),
            *([hours] if hours else []),
            self._about_sums(),
        ]

    def _about_tables(self) -> str:
        if not self.table_differences:
            return "The tables are those of this release."
        return f"The tables are not those of this release ({', '.join(self.table_differences)}); {ADVICE}."

    def _about_partitions(self) -> str:
        until = f"Partitions are made until {self.made_until:%Y-%m-%d}"
        return f"{until}." if self.is_made_ahead else f"{until} only; make more: aurea db maintain."

    def _about_default(self) -> str:
        if not self.rows_in_default:
            return "The default partition is empty."
        rows = counted(self.rows_in_default, "row is", "rows are")
        if self.weeks_in_default:
            return f"{rows} in the default partition; move what has a usual date: aurea db maintain."
        return f"{rows} in the default partition, of {wrong_clocks(self.rows_in_default)}."

    def _about_sums(self) -> str:
        if self.rollup_differences is None:
            return "The sums were not compared."
        if not self.rollup_differences:
            since = f" from {self.horizon:%Y-%m-%d} on; of what was dropped, with what is kept" if self.horizon else ""
            return f"Every sum agrees with its rows{since}."
        tables = ", ".join(f"{count:,} of {table}" for table, count in sorted(self.rollup_differences.items()))
        return f"Sums differ from their rows, {tables}; make them anew: aurea db rebuild."

    def _about_hours(self) -> str | None:
        if self.hours_to_condense is None:
            return None
        if not self.hours_to_condense:
            return "Every hour that is over is condensed."
        hours = counted(self.hours_to_condense, "hour that is over waits", "hours that are over wait")
        return f"{hours} to be condensed by a writer, or by: aurea db maintain."


def wrong_clocks(rows: int) -> str:
    """Whose rows stay in the default partition."""
    return "a clock that was quite wrong" if rows == 1 else "clocks that were quite wrong"


def condition(url: str) -> Condition:
    """Look at a database, as it is at one moment; reads every row, and takes as long as that takes.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    with at_one_moment(url) as connection:
        now = database_now(connection)
        differences = table_differences(connection)
        made_until = partitions.made_until(connection, now)
        return Condition(
            is_made_ahead=made_until > partitions.week_of(now) + partitions.WEEK,
            made_until=made_until,
            rows_in_default=partitions.count_default(connection),
            weeks_in_default=len(partitions.weeks_in_default(connection, now)),
            hours_to_condense=None if differences else len(condensed.hours_over(connection, now)),
            table_differences=differences,
            rollup_differences=None if differences else rollup_differences(connection),
            horizon=retention.horizon(connection),
        )
