"""Which executions a question is about, and the cheapest relation that answers it exactly.

Sums per quarter of an hour know time, task, provider, model and status; those per job know job, task, model and status.
What asks for a tag, or for a job within a time, reads the rows, which have an index for each; where retention has
dropped some of them it is refused, so that no answer gives a part for the whole. A time is widened to full quarters
whatever is read, so that all answers about it agree.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from msgspec import Struct, json
from msgspec.structs import replace

from aurea_celery.storage.retention import require_rows_since
from aurea_celery.storage.rollups import LATENCIES, QUARTERS, Rollup
from aurea_celery.storage.schema import metrics_jobs

By = Literal["task", "model", "provider", "status"]
NAMES: dict[By, str] = {
    "task": "task_name",
    "model": "model_used",
    "provider": "provider_name",
    "status": "status",
}
QUARTER_SECONDS = 900
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
        until = self.until and start_of_quarter(self.until + timedelta(seconds=QUARTER_SECONDS, microseconds=-1))
        return replace(self, since=self.since and start_of_quarter(self.since), until=until)

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


def start_of_quarter(time: datetime) -> datetime:
    """The start of the quarter of an hour that a time is in.

    >>> start_of_quarter(datetime(2026, 11, 24, 9, 14, 59, tzinfo=UTC)).isoformat()
    '2026-11-24T09:00:00+00:00'
    """
    return datetime.fromtimestamp(time.timestamp() // QUARTER_SECONDS * QUARTER_SECONDS, UTC)


def sums(
    connection: sa.Connection, selection: Selection, by: By | None = None, *, needs_time: bool = False
) -> Relation:
    """A relation with the measures of the rollups and ``status``, the name it is wanted by, and ``quarter_at``.

    The selection is one in full quarters.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    if _needs_rows(selection) or (selection.jobs and (needs_time or by == "provider")):
        return _of_rows(connection, QUARTERS, selection)
    return _filtered("metrics_job" if selection.jobs else "metrics_15m", selection, "quarter_at", "provider_name")


def latencies(connection: sa.Connection, selection: Selection) -> Relation:
    """A relation of ``quarter_at``, the names, ``bucket`` and ``executions``. The selection is one in full quarters.

    Raises:
        RowsPruned: If only rows know it, and retention has dropped some of these.
    """
    if selection.jobs or _needs_rows(selection):
        return _of_rows(connection, LATENCIES, selection)
    return _filtered("metrics_latency_15m", selection, "quarter_at", "provider_name")


def _needs_rows(selection: Selection) -> bool:
    """Whether no sums know it."""
    is_within_time = selection.since is not None or selection.until is not None
    return bool(selection.tags or (selection.jobs and (is_within_time or selection.providers)))


def _of_rows(connection: sa.Connection, rollup: Rollup, selection: Selection) -> Relation:
    """What a rollup would hold of the selection, made of its rows."""
    require_rows_since(connection, _begin(connection, selection), "what these executions came to")
    rows = _filtered("metrics", selection, "created_at", "coalesce(provider_name, '')")
    return Relation(f"({rollup.sums(rows.sql)}) AS quarters", rows.values)


def _begin(connection: sa.Connection, selection: Selection) -> datetime | None:
    """The time before which nothing belongs to the selection, as far as that is known without its rows."""
    since = selection.since
    if not selection.jobs:
        return since
    jobs = metrics_jobs.c
    first = connection.scalar(sa.select(sa.func.min(jobs.first_at)).where(jobs.job_id.in_(selection.jobs)))
    return max(since or NEVER, first or FOREVER)


def _filtered(table: str, selection: Selection, time: str, provider: str) -> Relation:
    """The rows of a table that belong to the selection."""
    conditions = {
        "since": (f"{time} >= :since", selection.since),
        "until": (f"{time} < :until", selection.until),
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
