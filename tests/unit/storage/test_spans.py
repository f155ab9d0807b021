"""Cutting a time into days, hours and quarters: all of it, once, and never over what has changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.storage.spans import SECONDS, Known, Piece, Span, Stretch, cut, end_of, start_of, widest_between

pytestmark = pytest.mark.clock

EPOCH, QUARTER, HOUR = datetime(2026, 11, 1, tzinfo=UTC), timedelta(minutes=15), timedelta(hours=1)
SPANS: list[Span] = ["quarter", "hour", "day"]

quarters = st.integers(-500, 500).map(lambda number: EPOCH + number * QUARTER)
hours = st.integers(-100, 100).map(lambda number: EPOCH + number * HOUR)
days = st.integers(-5, 5).map(lambda number: EPOCH + number * timedelta(days=1))
stretches = st.builds(Stretch, st.none() | quarters, st.none() | quarters).filter(lambda one: not one.is_empty)
changes = st.none() | st.builds(Stretch, hours, hours).filter(lambda one: not one.is_empty)
knowns = st.builds(Known, changes, days)


def touches(one: Stretch, other: Stretch) -> bool:
    """Whether they have a time in common."""
    begin = [time for time in (one.since, other.since) if time is not None]
    end = [time for time in (one.until, other.until) if time is not None]
    return not begin or not end or max(begin) < min(end)


@given(stretches, knowns, st.sampled_from(SPANS))
def test_the_pieces_are_the_whole_and_follow_each_other(asked: Stretch, known: Known, widest: Span) -> None:
    pieces = [piece.stretch for piece in cut(asked, known, widest)]

    assert (pieces[0].since, pieces[-1].until) == asked
    assert [piece.until for piece in pieces[:-1]] == [piece.since for piece in pieces[1:]]
    assert not any(piece.is_empty for piece in pieces)


@given(stretches, knowns, st.sampled_from(SPANS))
def test_each_piece_is_of_whole_spans_that_are_known(asked: Stretch, known: Known, widest: Span) -> None:
    for span, stretch in cut(asked, known, widest):
        assert SPANS.index(span) <= SPANS.index(widest)
        assert all(time is None or start_of(span, time) == time for time in stretch)
        if span != "quarter":
            assert known.changed is None or not touches(stretch, known.changed)
        if span == "hour":
            assert stretch.since is not None
            assert stretch.since >= known.hours_from


@given(stretches, days, st.sampled_from(SPANS))
def test_what_is_left_in_smaller_spans_does_not_fill_a_wider_one(
    asked: Stretch, hours_from: datetime, widest: Span
) -> None:
    for span, stretch in cut(asked, Known(None, hours_from), widest):
        wider: Span = "hour" if span == "quarter" else "day"
        if span == widest or stretch.since is None or stretch.until is None or stretch.since < hours_from:
            continue
        assert end_of(wider, stretch.since) + timedelta(seconds=SECONDS[wider]) > stretch.until


def test_a_month_that_is_over_is_one_piece() -> None:
    month = Stretch(EPOCH, EPOCH + timedelta(days=30))

    assert cut(month, Known(None, EPOCH), "day") == [Piece("day", month)]


def test_of_this_day_the_hours_before_the_current_one_are_known() -> None:
    now = EPOCH + timedelta(hours=9, minutes=20)
    this_hour = Stretch(EPOCH + 9 * HOUR, EPOCH + 10 * HOUR)

    assert cut(Stretch(EPOCH - timedelta(days=1), now), Known(this_hour, EPOCH - timedelta(days=2)), "day") == [
        Piece("day", Stretch(EPOCH - timedelta(days=1), EPOCH)),
        Piece("hour", Stretch(EPOCH, EPOCH + 9 * HOUR)),
        Piece("quarter", Stretch(EPOCH + 9 * HOUR, now)),
    ]


def test_nothing_is_cut_into_nothing() -> None:
    assert cut(Stretch(EPOCH, EPOCH), Known(None, EPOCH), "day") == []


def test_a_span_that_would_end_after_all_time_ends_with_it() -> None:
    last = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)

    assert end_of("day", last) > last


def test_the_widest_span_begins_at_every_point() -> None:
    assert widest_between([]) == "day"
    assert widest_between([EPOCH, EPOCH + 24 * HOUR]) == "day"
    assert widest_between([EPOCH, EPOCH + 23 * HOUR]) == "hour"
    assert widest_between([EPOCH, EPOCH + QUARTER]) == "quarter"
