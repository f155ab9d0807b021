"""The calls that sum: in all, and by task, model or provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from aurea_api.calls import Services
from aurea_api.filters import Filters, read_selection
from aurea_api.parameters import Limit, Offset, must_be
from aurea_celery.storage.selection import By, Selection
from aurea_celery.storage.spending import plain
from aurea_celery.storage.totals import Totals, read_named_totals, read_totals, read_totals_of

HOUR = timedelta(hours=1)

Sort = Annotated[
    Literal["cost", "tasks", "tokens", "errors", "waste"], must_be("one of cost, tasks, tokens, errors, waste")
]


class Ranking(Filters, frozen=True, kw_only=True):
    """Which executions, and a page of the names that have the most."""

    sort: Sort = "cost"
    limit: Limit = 100
    offset: Offset = 0


class Summary(Struct, frozen=True, kw_only=True):
    """What executions came to, from ``since`` until before ``until``, and in the period of that length before.

    Rates are over the part of the period that has passed; they and ``previous`` are null where it has no beginning.
    """

    since: datetime | None
    until: datetime | None
    tasks_per_hour: Decimal | None
    cost_per_hour: Decimal | None
    totals: Totals
    previous: Totals | None


class RankedTask(Struct, frozen=True, kw_only=True):
    """What the executions of a task came to, and in the period before, if there were any."""

    task_name: str
    totals: Totals
    previous: Totals | None


class RankedModel(Struct, frozen=True, kw_only=True):
    """What the executions came to on a model, and in the period before, if there were any."""

    model: str
    totals: Totals
    previous: Totals | None


class TaskRanking(Struct, frozen=True, kw_only=True):
    """Tasks, those with the most first."""

    since: datetime | None
    until: datetime | None
    tasks: list[RankedTask]


class ModelRanking(Struct, frozen=True, kw_only=True):
    """Models, those with the most first."""

    since: datetime | None
    until: datetime | None
    models: list[RankedModel]


class _Ranked(NamedTuple):
    selection: Selection
    lines: dict[str, Totals]
    previous: dict[str, Totals]


def summary(services: Services, filters: Filters) -> Summary:
    """What executions came to: tokens, cost, latency, errors and waste, and the same for the period before."""
    now = datetime.now(UTC)
    selection = read_selection(filters, now).in_quarters()
    before = _before(selection, now)
    with services.store.connect() as connection:
        totals = read_totals(connection, selection)
        previous = read_totals(connection, before) if before else None
    hours = _hours(selection, now)
    return Summary(
        since=selection.since,
        until=selection.until,
        tasks_per_hour=plain(round(totals.total_tasks / hours, 6)) if hours else None,
        cost_per_hour=plain(round(totals.total_cost / hours, 12)) if hours else None,
        totals=totals,
        previous=previous,
    )


def task_totals(services: Services, query: Ranking) -> TaskRanking:
    """What each task came to, and in the period before."""
    found = _ranked(services, query, "task")
    lines = [
        RankedTask(task_name=name, totals=totals, previous=found.previous.get(name))
        for name, totals in found.lines.items()
    ]
    return TaskRanking(since=found.selection.since, until=found.selection.until, tasks=lines)


def model_totals(services: Services, query: Ranking) -> ModelRanking:
    """What each model came to, and in the period before."""
    found = _ranked(services, query, "model")
    lines = [
        RankedModel(model=name, totals=totals, previous=found.previous.get(name))
        for name, totals in found.lines.items()
    ]
    return ModelRanking(since=found.selection.since, until=found.selection.until, models=lines)


def _ranked(services: Services, query: Ranking, by: By) -> _Ranked:
    now = datetime.now(UTC)
    selection = read_selection(query, now).in_quarters()
    before = _before(selection, now)
    with services.store.connect() as connection:
        lines = read_named_totals(connection, selection, by, sort=query.sort, limit=query.limit, offset=query.offset)
        previous = read_totals_of(connection, before, by, list(lines)) if before else {}
    return _Ranked(selection, lines, previous)


def _before(selection: Selection, now: datetime) -> Selection | None:
    """The period before; that of one which is not over ends where it begins, and is as long as it will be."""
    return replace(selection, until=selection.until or now).in_quarters().before()


def _hours(selection: Selection, now: datetime) -> Decimal | None:
    if selection.since is None:
        return None
    passed = min(selection.until or now, now) - selection.since
    return Decimal(passed / timedelta(microseconds=1)) / Decimal(HOUR / timedelta(microseconds=1))
