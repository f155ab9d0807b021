"""The call that tells a measure over time."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args

from flask import abort
from msgspec import Struct
from msgspec.structs import replace

from aurea_api import calendar
from aurea_api.calls import Services
from aurea_api.filters import Filters, read_selection
from aurea_api.parameters import means, must_be
from aurea_celery.clock import Time
from aurea_celery.storage import selection as selections
from aurea_celery.storage.series import Asked, Measure, Series, read_series

MOST_POINTS = 3000
DEFAULT = {"15m": timedelta(days=1), "1h": timedelta(days=1), "1d": timedelta(days=30)}
"""How much of the past is shown where nothing else is said."""
MOST_SERIES = 50

_MEASURES = ", ".join(get_args(Measure))
By = Annotated[selections.By, must_be("one of task, model, provider, status")]


class SeriesQuery(Filters, frozen=True, kw_only=True):
    """A measure of executions over time, by what, in which steps, on whose clocks."""

    measure: Annotated[Measure, must_be(f"one of {_MEASURES}"), means("What is told")]
    by: Annotated[By | None, means("A series for each of these; one series for all, if left out")] = None
    interval: Annotated[calendar.Interval, must_be("one of 15m, 1h, 1d"), means("How long a point is")] = "1h"
    tz: Annotated[str, must_be("a time zone such as Europe/Madrid", max_length=64), means("Whose hours and days")] = (
        "UTC"
    )
    series: Annotated[
        int,
        must_be(f"a whole number from 1 to {MOST_SERIES}", ge=1, le=MOST_SERIES),
        means("How many series at most; the rest is one together"),
    ] = 10


class TimeSeries(Struct, frozen=True, kw_only=True):
    """A value for each of ``times``, which are where points begin; ``until`` is where the last one ends.

    ``series`` are those with the most; ``other`` is all the rest together, if there is any.
    """

    measure: Measure
    by: selections.By | None
    interval: calendar.Interval
    tz: str
    since: Time
    until: Time
    times: list[Time]
    series: list[Series]
    other: Series | None


def timeseries(services: Services, query: SeriesQuery) -> TimeSeries:
    """A measure over time, in all or for each of the names that have the most of it."""
    now = datetime.now(UTC)
    selection = read_selection(query, now)
    until = selection.until or now
    *times, end = _times(query, selection.since or until - DEFAULT[query.interval], until)
    asked = Asked(replace(selection, since=times[0], until=end), query.measure, query.by, query.series)
    with services.store.connect() as connection:
        found = read_series(connection, asked, times)
    return TimeSeries(
        measure=query.measure,
        by=query.by,
        interval=query.interval,
        tz=query.tz,
        since=times[0],
        until=end,
        times=times,
        series=[one for one in found if one.name is not None or query.by is None],
        other=next((one for one in found if one.name is None and query.by is not None), None),
    )


def _times(query: SeriesQuery, since: datetime, until: datetime) -> list[datetime]:
    """Where points begin, and where the last one ends.

    Raises:
        werkzeug.exceptions.BadRequest: If the zone is none, or the points are too many.
    """
    if query.tz not in zoneinfo.available_timezones():
        abort(400, "tz must be a time zone such as Europe/Madrid")
    times = calendar.begins(query.interval, since, until, zoneinfo.ZoneInfo(query.tz), MOST_POINTS)
    if len(times) - 1 > MOST_POINTS:
        abort(400, f"that is more than {MOST_POINTS:,} points; take a longer interval, or a shorter time")
    return times
