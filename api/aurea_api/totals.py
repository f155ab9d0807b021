"""The calls that sum: in all, and by task, model or provider."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from aurea_api.calls import Services
from aurea_api.filters import Filters, read_selection
from aurea_api.parameters import Limit, Offset, means, must_be
from aurea_celery.clock import Time
from aurea_celery.errors import RowsPruned
from aurea_celery.storage.selection import By, Selection
from aurea_celery.storage.spending import plain
from aurea_celery.storage.totals import Totals, read_named_totals, read_totals, read_totals_of

HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)

Sort = Annotated[
    Literal["cost", "tasks", "tokens", "errors", "waste"], must_be("one of cost, tasks, tokens, errors, waste")
]


class Ranking(Filters, frozen=True, kw_only=True):
    """Which executions, and a page of the names that have the most."""

    sort: Annotated[Sort, means("What the names are sorted by, the greatest first")] = "cost"
    limit: Limit = 100
    offset: Offset = 0


class Change(Struct, frozen=True, kw_only=True):
    """By which part something is more than in the period before: 0.5 is half more, -1 nothing any more.

    Sums are compared by the hour that has passed, so that a period which is not over can be compared with a full one.
    What was nothing before, or is not known, has no change.
    """

    total_tasks: Decimal | None
    total_tokens: Decimal | None
    total_cost: Decimal | None
    waste_cost: Decimal | None
    avg_latency_ms: Decimal | None
    p95_latency_ms: Decimal | None
    error_share: Decimal | None


class Summary(Struct, frozen=True, kw_only=True):
    """What executions came to, from ``since`` until before ``until``, and in the period of that length before.

    Rates are over the part of the period that has passed. They, ``previous`` and ``change`` are null where it has no
    beginning; rates and ``change`` where that is yet to come; ``previous`` and ``change`` where retention has dropped
    the rows that know.
    """

    since: Time | None
    until: Time | None
    tasks_per_hour: Decimal | None
    cost_per_hour: Decimal | None
    totals: Totals
    previous: Totals | None
    change: Change | None


class RankedTask(Struct, frozen=True, kw_only=True):
    """What the executions of a task came to, and in the period before, if there were any then."""

    task_name: str
    totals: Totals
    previous: Totals | None
    change: Change | None


class RankedModel(Struct, frozen=True, kw_only=True):
    """What the executions came to on a model, and in the period before, if there were any then."""

    model: str
    totals: Totals
    previous: Totals | None
    change: Change | None


class TaskRanking(Struct, frozen=True, kw_only=True):
    """Tasks, those with the most first."""

    since: Time | None
    until: Time | None
    tasks: list[RankedTask]


class ModelRanking(Struct, frozen=True, kw_only=True):
    """Models, those with the most first."""

    since: Time | None
    until: Time | None
    models: list[RankedModel]


class _Periods(NamedTuple):
    """What is asked, the same in the period before, and the part of its hours that has passed by now."""

    now: Selection
    before: Selection | None
    hours: Decimal | None
    passed: Decimal | None


class _Ranked(NamedTuple):
    periods: _Periods
    lines: dict[str, Totals]
    previous: dict[str, Totals]


def summary(services: Services, filters: Filters) -> Summary:
    """What executions came to: tokens, cost, latency, errors and waste, and the same for the period before."""
    periods = _periods(filters)
    with services.store.connect() as connection:
        totals = read_totals(connection, periods.now)
        previous = None
        with suppress(RowsPruned):
            previous = read_totals(connection, periods.before) if periods.before else None
    hours = periods.hours
    return Summary(
        since=periods.now.since,
        until=periods.now.until,
        tasks_per_hour=plain(round(totals.total_tasks / hours, 6)) if hours else None,
        cost_per_hour=plain(round(totals.total_cost / hours, 12)) if hours else None,
        totals=totals,
        previous=previous,
        change=_change(totals, previous, periods),
    )


def task_totals(services: Services, query: Ranking) -> TaskRanking:
    """What each task came to, and in the period before."""
    found = _ranked(services, query, "task")
    lines = [RankedTask(task_name=name, **_compared(found, name)) for name in found.lines]
    return TaskRanking(since=found.periods.now.since, until=found.periods.now.until, tasks=lines)


def model_totals(services: Services, query: Ranking) -> ModelRanking:
    """What each model came to, and in the period before."""
    found = _ranked(services, query, "model")
    lines = [RankedModel(model=name, **_compared(found, name)) for name in found.lines]
    return ModelRanking(since=found.periods.now.since, until=found.periods.now.until, models=lines)


def _ranked(services: Services, query: Ranking, by: By) -> _Ranked:
    periods = _periods(query)
    sort, limit, offset = query.sort, query.limit, query.offset
    with services.store.connect() as connection:
        lines = read_named_totals(connection, periods.now, by, sort=sort, limit=limit, offset=offset)
        previous: dict[str, Totals] = {}
        with suppress(RowsPruned):
            previous = read_totals_of(connection, periods.before, by, list(lines)) if periods.before else {}
    return _Ranked(periods, lines, previous)


def _compared(found: _Ranked, name: str) -> dict[str, Any]:
    totals, previous = found.lines[name], found.previous.get(name)
    return {"totals": totals, "previous": previous, "change": _change(totals, previous, found.periods)}


def _periods(filters: Filters) -> _Periods:
    """The period before one that is not over ends where that begins, and is as long as that will be."""
    now = datetime.now(UTC)
    selection = read_selection(filters, now).in_quarters()
    whole = replace(selection, until=selection.until or now).in_quarters()
    if whole.since is None or whole.until is None:
        return _Periods(selection, None, None, None)
    if whole.since >= now:
        return _Periods(selection, whole.before(), None, None)
    hours = _hours(min(whole.until, now) - whole.since)
    return _Periods(selection, whole.before(), hours, hours / _hours(whole.until - whole.since))


def _change(totals: Totals, previous: Totals | None, periods: _Periods) -> Change | None:
    if previous is None or periods.passed is None:
        return None
    return Change(
        total_tasks=_more(totals.total_tasks, previous.total_tasks * periods.passed),
        total_tokens=_more(totals.total_tokens, previous.total_tokens * periods.passed),
        total_cost=_more(totals.total_cost, previous.total_cost * periods.passed),
        waste_cost=_more(totals.waste.total_cost, previous.waste.total_cost * periods.passed),
        avg_latency_ms=_more(totals.avg_latency_ms, previous.avg_latency_ms),
        p95_latency_ms=_more(totals.p95_latency_ms, previous.p95_latency_ms),
        error_share=_more(totals.error_share, previous.error_share),
    )


def _more(now: Decimal | float | None, before: Decimal | float | None) -> Decimal | None:
    if now is None or not before:
        return None
    return plain(round(Decimal(str(now)) / Decimal(str(before)) - 1, 6))


def _hours(period: timedelta) -> Decimal:
    return Decimal(period // MICROSECOND) / (HOUR // MICROSECOND)
