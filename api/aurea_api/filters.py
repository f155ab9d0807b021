"""The parameters that say which executions a call is about."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple, Protocol

from flask import abort
from msgspec import Struct

from aurea_api.parameters import means, must_be
from aurea_celery.events import STATUSES, TEXT_MAX_CHARACTERS
from aurea_celery.storage.selection import Selection

AGO = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
YEARS = (1970, 9998)
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_TEXT = f"a text of at most {TEXT_MAX_CHARACTERS} characters without NUL"
Text = Annotated[str, must_be(_TEXT, max_length=TEXT_MAX_CHARACTERS, pattern=r"^[^\x00]*$")]
Status = Annotated[str, must_be(f"one of {', '.join(STATUSES)}", pattern=f"^({'|'.join(STATUSES)})$")]
Tag = Annotated[
    str,
    must_be(
        "written NAME:VALUE, such as team:search",
        max_length=1000,
        pattern=r"^[^:\x00]{1,255}:[^\x00]*$",
        examples=["team:search"],
    ),
]
Moment = Annotated[
    str,
    must_be(
        "a time with zone such as 2026-11-24T09:00:00Z, or how long ago, such as 15m, 24h, 7d or 2w",
        max_length=40,
        examples=["24h", "2026-11-24T09:00:00Z"],
        pattern=r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+ -]\d{2}:\d{2})|[1-9][0-9]{0,4}[mhdw])$",
    ),
]


class Period(Struct, frozen=True, kw_only=True):
    """When executions ended: from ``since`` until before ``until``; ever, and until now, if left out."""

    since: Annotated[Moment | None, means("The beginning of the period, included")] = None
    until: Annotated[Moment | None, means("The end of the period, not included")] = None


class Filters(Period, frozen=True, kw_only=True):
    """Which executions: of any of the names that are given of one kind, and with all the tags."""

    job: Annotated[list[Text], means("Only these jobs")] = []
    task: Annotated[list[Text], means("Only these tasks")] = []
    provider: Annotated[list[Text], means("Only what was spent on models of these providers")] = []
    model: Annotated[list[Text], means("Only what was spent on these models")] = []
    status: Annotated[list[Status], means("Only executions that ended so")] = []
    tag: Annotated[list[Tag], means("Only executions with all of these tags")] = []


class Times(NamedTuple):
    """A period as it was read."""

    since: datetime | None
    until: datetime | None


class HasPeriod(Protocol):
    """Parameters with a period."""

    @property
    def since(self) -> str | None:
        """Its beginning."""

    @property
    def until(self) -> str | None:
        """Its end."""


def read_times(period: HasPeriod, now: datetime) -> Times:
    """The times of a period.

    Raises:
        werkzeug.exceptions.BadRequest: If one cannot be, or the end is not after the beginning.
    """
    since, until = _moment("since", period.since, now), _moment("until", period.until, now)
    if since is not None and since >= (until or now):
        abort(400, "until must be after since, and since before now")
    return Times(since, until)


def read_selection(filters: Filters, now: datetime) -> Selection:
    """The executions that filters are about.

    Raises:
        werkzeug.exceptions.BadRequest: If a time cannot be, or a tag is given twice.
    """
    since, until = read_times(filters, now)
    tags = tuple((name, value) for name, _, value in (tag.partition(":") for tag in filters.tag))
    if len(dict(tags)) < len(tags):
        abort(400, "tag was given more than once with one name; an execution has one value of each")
    return Selection(
        since=since,
        until=until,
        jobs=tuple(filters.job),
        tasks=tuple(filters.task),
        providers=tuple(filters.provider),
        models=tuple(filters.model),
        statuses=tuple(filters.status),
        tags=tags,
    )


def _moment(name: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    ago = AGO.fullmatch(text)
    try:
        time = now - timedelta(**{UNITS[ago[2]]: int(ago[1])}) if ago else _iso_time(text)
    except (ValueError, OverflowError):
        time = None
    if time is None or not YEARS[0] <= time.year <= YEARS[1]:
        abort(400, f"{name} must be a time that exists, in the years {YEARS[0]} to {YEARS[1]}")
    return time


def _iso_time(text: str) -> datetime:
    """A time with zone; a plus in an address that was not encoded has become a space."""
    return datetime.fromisoformat(text.replace(" ", "+")).astimezone(UTC)
