"""Cutting a time into whole days, whole hours and quarters of an hour, all of UTC.

Days and hours have sums of their own, but where an hour has changed since these were made; that stretch is left in
quarters, which are right at every moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

Span = Literal["day", "hour", "quarter"]
SECONDS: dict[Span, int] = {"day": 86_400, "hour": 3_600, "quarter": 900}
_NEXT_SMALLER: dict[Span, Span] = {"day": "hour", "hour": "quarter"}


class Stretch(NamedTuple):
    """From a time on, until before a time; None is open."""

    since: datetime | None
    until: datetime | None

    @property
    def is_empty(self) -> bool:
        """Whether no time is in it."""
        return self.since is not None and self.until is not None and self.since >= self.until


class Known(NamedTuple):
    """Which spans have sums: none that touches what has changed, a stretch of whole hours, and no hours of before."""

    changed: Stretch | None
    hours_from: datetime


class Piece(NamedTuple):
    """A stretch that whole spans fill."""

    span: Span
    stretch: Stretch


def start_of(span: Span, time: datetime) -> datetime:
    """The start of the span that a time is in.

    >>> start_of("quarter", datetime(2026, 11, 24, 9, 14, 59, tzinfo=UTC)).isoformat()
    '2026-11-24T09:00:00+00:00'
    """
    return datetime.fromtimestamp(time.timestamp() // SECONDS[span] * SECONDS[span], UTC)


def end_of(span: Span, time: datetime) -> datetime:
    """The first start of a span that is not before a time; where there is none any more, the end of all time.

    >>> end_of("hour", datetime(2026, 11, 24, 9, 0, 0, 1, tzinfo=UTC)).isoformat()
    '2026-11-24T10:00:00+00:00'
    """
    try:
        return start_of(span, time + timedelta(seconds=SECONDS[span], microseconds=-1))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def widest_between(points: Sequence[datetime]) -> Span:
    """The widest span at whose starts all points are.

    >>> widest_between([datetime(2026, 11, 24, 23, tzinfo=UTC), datetime(2026, 11, 25, 23, tzinfo=UTC)])
    'hour'
    """
    return next((span for span in SECONDS if all(start_of(span, point) == point for point in points)), "quarter")


def cut(asked: Stretch, known: Known, widest: Span) -> list[Piece]:
    """Pieces of spans up to the widest that fill what is asked, a stretch in quarters, and none of it twice."""
    changed, hours_from = known
    if changed is None:
        return [*_fill(asked, widest, hours_from)]
    before = Stretch(asked.since, _earliest(asked.until, changed.since))
    within = Stretch(_latest(asked.since, changed.since), _earliest(asked.until, changed.until))
    after = Stretch(_latest(asked.since, changed.until), asked.until)
    spans: list[tuple[Stretch, Span]] = [(before, widest), (within, "quarter"), (after, widest)]
    return [piece for stretch, span in spans for piece in _fill(stretch, span, hours_from)]


def _fill(stretch: Stretch, span: Span, hours_from: datetime) -> Iterator[Piece]:
    """The whole spans in a stretch, and smaller ones before and after them."""
    if stretch.is_empty:
        return
    if span == "quarter":
        yield Piece(span, stretch)
    elif span == "hour" and (stretch.since is None or stretch.since < hours_from):
        yield from _fill(Stretch(stretch.since, _earliest(stretch.until, hours_from)), "quarter", hours_from)
        yield from _fill(Stretch(hours_from, stretch.until), "hour", hours_from)
    else:
        yield from _fill_with_whole(stretch, span, hours_from)


def _fill_with_whole(stretch: Stretch, span: Span, hours_from: datetime) -> Iterator[Piece]:
    smaller = _NEXT_SMALLER[span]
    whole = Stretch(stretch.since and end_of(span, stretch.since), stretch.until and start_of(span, stretch.until))
    if whole.is_empty:
        yield from _fill(stretch, smaller, hours_from)
        return
    if stretch.since is not None:
        yield from _fill(Stretch(stretch.since, whole.since), smaller, hours_from)
    yield Piece(span, whole)
    if stretch.until is not None:
        yield from _fill(Stretch(whole.until, stretch.until), smaller, hours_from)


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
