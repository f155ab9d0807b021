"""Which executions a question is about, and the cheapest relation that answers it exactly.

Sums per quarter of an hour know time, task, provider, model and status; those per job know job, task, model and status.
Whole hours and days have sums by one name at a time, and status: what asks for no two of task, model and provider reads
these, and quarters only where the time begins and ends, and where an hour is not condensed. What asks for a tag, or for
a job within a time, reads the rows, which have an index for each; where retention has dropped some of them it is
refused, so that no answer gives a part for the whole. A time is widened to full quarters whatever is read, so that all
answers about it agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from msgspec import Struct, json
from msgspec.structs import replace

from aurea_celery.storage import condensed
from aurea_celery.storage.database_clock import database_now
from aurea_celery.storage.retention import require_rows_since
from aurea_celery.storage.rollups import LATENCIES, MEASURES, QUARTERS, Rollup
from aurea_celery.storage.schema import metrics_jobs
from aurea_celery.storage.spans import Known, Piece, Span, Stretch, cut, end_of, start_of, widest_between

By = Literal["task", "model", "provider", "status"]
NAMES: dict[By, str] = {
    "task": "task_name",
    "model": "model_used",
    "provider": "provider_name",
    "status": "status",
}
NEVER, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Selection(Struct, frozen=True, kw_only=True):
    """Executions that ended from ``since`` until before ``until`` (None: ever), of any of the names in each list.

    ``tags`` are names and values; an execution has them all.
    """

    since: datetime | None = None
    until: datetime | None = None
    jobs: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    def in_quarters(self) -> Selection:
        """The same, widened to full quarters of an hour."""
        since, until = self.since and start_of("quarter", self.since), self.until and end_of("quarter", self.until)
        return replace(self, since=since, until=until)

    def before(self) -> Selection | None:
        """The same over the period of the same length just before; None where there is none."""
        if self.since is None or self.until is None:
            return None
        try:
            return replace(self, since=self.since - (self.until - self.since), until=self.since)
        except OverflowError:  # there is no year 0
            return None


class Relation(NamedTuple):
    """What stands after FROM, and the values it is asked with."""

    sql: str
    values: dict[str, Any]


def sums(
    connection: sa.Connection, selection: Selection, by: By | None = None, *, points: Sequence[datetime] = ()
) -> Relation:
    """A relation with the measures of the rollups and ``status``, the name it is wanted by, and ``quarter_at``.

    The selection is one in full quarters. Where ``points`` of time are given, no row reaches over one of them; without
    any, those of jobs have no time.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    if _needs_rows(selection) or (selection.jobs and (points or by == "provider")):
        return _of_rows(connection, QUARTERS, selection)
    if selection.jobs:
        return _filtered("metrics_job", selection)
    return _of_time(connection, _SUMS, selection, by, points)


def latencies(
    connection: sa.Connection, selection: Selection, by: By | None = None, *, points: Sequence[datetime] = ()
) -> Relation:
    """A relation of ``bucket`` and ``executions``, ``status``, the name it is wanted by, and ``quarter_at``; see sums.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    if selection.jobs or _needs_rows(selection):
        return _of_rows(connection, LATENCIES, selection)
    return _of_time(connection, _LATENCIES, selection, by, points)


def sums_by_job(connection: sa.Connection, selection: Selection) -> Relation:
    """A relation with the measures of the rollups, ``job_id`` and, unless all is selected, ``status``; see sums.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    if selection == Selection():
        return Relation("metrics_jobs", {})
    if selection.since is None and selection.until is None and not selection.tags and not selection.providers:
        return _filtered("metrics_job", selection)
    return sums_of_rows(connection, {"job_id": "job_id"}, selection)


def sums_of_rows(connection: sa.Connection, key: dict[str, str], selection: Selection) -> Relation:
    """A relation with the measures of the rollups by the expressions of ``key`` over rows; see sums.

    Raises:
        RowsPruned: If retention has dropped some of the rows.
    """
    return _of_rows(connection, Rollup("", key | {"status": "status"}, MEASURES), selection)


class _Kept(NamedTuple):
    """Where figures are kept, for each span, as what stands after FROM, and their columns."""

    spans: dict[Span, str]
    columns: str


_SUMS = _Kept({"quarter": "metrics_15m", **condensed.TABLES}, ", ".join(MEASURES))
_LATENCIES = _Kept(
    {"quarter": "metrics_latency_15m", **{span: condensed.latencies_of(span) for span in condensed.TABLES}},
    "bucket, executions",
)


def _of_time(
    connection: sa.Connection, kept: _Kept, selection: Selection, by: By | None, points: Sequence[datetime]
) -> Relation:
    """The figures of a time, from the longest spans that know them."""
    filtered: dict[By, Sequence[str]] = {
        "task": selection.tasks,
        "model": selection.models,
        "provider": selection.providers,
    }
    dimensions = [dimension for dimension, names in filtered.items() if names or dimension == by]
    if len(dimensions) > 1:
        return _filtered(kept.spans["quarter"], selection)
    stretch = Stretch(selection.since, selection.until)
    known = Known(condensed.changed_in(connection, stretch), condensed.hours_from(database_now(connection)))
    pieces = cut(stretch, known, widest_between(points))
    parts = [
        _filtered(_spans(kept, dimensions, piece), selection, piece.stretch, str(number))
        for number, piece in enumerate(pieces or [Piece("quarter", stretch)])
    ]
    columns = ", ".join(("quarter_at", "status", *(NAMES[dimension] for dimension in dimensions), kept.columns))
    united = " UNION ALL ".join(f"SELECT {columns} FROM {part.sql}" for part in parts)  # noqa: S608 - our own names
    return Relation(f"({united}) AS of_time", {name: value for part in parts for name, value in part.values.items()})


def _spans(kept: _Kept, dimensions: Sequence[By], piece: Piece) -> str:
    """The figures of a piece's spans by one dimension, or by none, as if they were quarters."""
    if piece.span == "quarter":
        return kept.spans["quarter"]
    dimension, name = (dimensions[0], NAMES[dimensions[0]]) if dimensions else ("all", "name")
    return (
        f"(SELECT starts_at AS quarter_at, name AS {name}, status, {kept.columns}"  # noqa: S608 - our own names
        f" FROM {kept.spans[piece.span]} WHERE dimension = '{dimension}') AS spans"
    )


def _needs_rows(selection: Selection) -> bool:
    """Whether no sums know it."""
    is_within_time = selection.since is not None or selection.until is not None
    return bool(selection.tags or (selection.jobs and (is_within_time or selection.providers)))


def _of_rows(connection: sa.Connection, rollup: Rollup, selection: Selection) -> Relation:
    """What a rollup would hold of the selection, made of its rows."""
    require_rows_since(connection, _begin(connection, selection), "what these executions came to")
    rows = _filtered("metrics", selection, time="created_at", provider="coalesce(provider_name, '')")
    return Relation(f"({rollup.sums(rows.sql)}) AS quarters", rows.values)


def _begin(connection: sa.Connection, selection: Selection) -> datetime | None:
    """The time before which nothing belongs to the selection, as far as that is known without its rows."""
    since = selection.since
    if not selection.jobs:
        return since
    jobs = metrics_jobs.c
    first = connection.scalar(sa.select(sa.func.min(jobs.first_at)).where(jobs.job_id.in_(selection.jobs)))
    return max(since or NEVER, first or FOREVER)


def _filtered(
    table: str,
    selection: Selection,
    stretch: Stretch | None = None,
    part: str = "",
    *,
    time: str = "quarter_at",
    provider: str = "provider_name",
) -> Relation:
    """The rows of a table that belong to the selection, or to a stretch of it, whose times are named by ``part``."""
    since, until = stretch or Stretch(selection.since, selection.until)
    conditions = {
        f"since{part}": (f"{time} >= :since{part}", since),
        f"until{part}": (f"{time} < :until{part}", until),
        "jobs": ("job_id = ANY(:jobs)", list(selection.jobs)),
        "tasks": ("task_name = ANY(:tasks)", list(selection.tasks)),
        "providers": (f"{provider} = ANY(:providers)", list(selection.providers)),
        "models": ("model_used = ANY(:models)", list(selection.models)),
        "statuses": ("status = ANY(:statuses)", list(selection.statuses)),
        "tags": ("tags @> CAST(:tags AS jsonb)", selection.tags and json.encode(dict(selection.tags)).decode()),
    }
    asked = {name: one for name, one in conditions.items() if one[1]}
    where = " AND ".join(condition for condition, _ in asked.values()) or "true"
    values = {name: value for name, (_, value) in asked.items()}
    return Relation(f"(SELECT * FROM {table} WHERE {where}) AS selected", values)  # noqa: S608 - our own names
