"""Waits, from the clocks of two hosts."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.capture.requests import PUBLISHED_HEADER, RECEIVED_KEY, event_of
from aurea_celery.capture.selection import Selection
from aurea_celery.clock import from_us, new_event_id, now_us
from aurea_celery.events import TaskEvent, decode_event, encode
from aurea_celery.settings import Settings

pytestmark = pytest.mark.clock

NOWHERE = Selection(Settings())
SECOND_US = 1_000_000


def make_task() -> Any:
    """A task that does nothing."""
    app = Celery("unit", broker="memory://", set_as_current=False)

    @app.task(name="unit.task", shared=False)
    def nothing() -> None:
        """Do nothing."""

    return nothing


def event(published_us: object, received_us: int | None, *, eta: object = None, **fields: Any) -> TaskEvent:
    """The event of a task that begins now."""
    task = make_task()
    received = (new_event_id(), received_us) if received_us is not None else None
    request = Context(id="id", eta=eta, **{PUBLISHED_HEADER: published_us, RECEIVED_KEY: received}, **fields)
    return event_of(task, request, "job", NOWHERE, {})


def test_a_wait_at_the_broker_and_one_in_the_worker() -> None:
    now = now_us()

    found = event(now - 3 * SECOND_US, now - SECOND_US)

    assert found.broker_wait_us == 2 * SECOND_US
    assert found.prefetch_wait_us is not None
    assert SECOND_US <= found.prefetch_wait_us < 2 * SECOND_US
    assert not found.clock_skewed


def test_what_a_task_was_told_to_wait_does_not_count() -> None:
    now = now_us()

    found = event(now - 60 * SECOND_US, now - 59 * SECOND_US, eta=from_us(now - SECOND_US).isoformat())

    assert found.broker_wait_us == SECOND_US
    assert found.prefetch_wait_us is not None
    assert found.prefetch_wait_us < 2 * SECOND_US


@pytest.mark.parametrize("eta", ["soon", "2026-01-01T00:00:00", 5, "0"])
def test_a_time_that_is_none_is_no_time(eta: object) -> None:
    now = now_us()

    assert event(now, now, eta=eta).prefetch_wait_us is not None


def test_a_clock_that_is_ahead_gives_no_time_below_zero_and_is_marked() -> None:
    now = now_us()

    found = event(now + 3600 * SECOND_US, now)

    assert (found.broker_wait_us, found.clock_skewed) == (0, True)


def test_a_clock_that_was_put_back_meanwhile_is_marked_too() -> None:
    found = event(now_us(), now_us() + 3600 * SECOND_US)

    assert (found.prefetch_wait_us, found.clock_skewed) == (0, True)


@pytest.mark.parametrize("published", [None, "yesterday", 1.5])
def test_a_publisher_without_the_plugin_is_no_wait_of_zero(published: object) -> None:
    found = event(published, now_us())

    assert found.broker_wait_us is None
    assert not found.clock_skewed


def test_a_message_that_no_main_process_received() -> None:
    found = event(now_us(), None)

    assert (found.broker_wait_us, found.prefetch_wait_us) == (None, None)


@given(published=st.integers(0, 2**53 - 1), received=st.integers(0, 2**53 - 1))
def test_whatever_the_clocks_say_it_can_be_written(published: int, received: int) -> None:
    found = event(published, received)

    assert decode_event(encode(found)) == found


def test_a_request_without_anything() -> None:
    """As some libraries make them for tasks that they run themselves."""
    task = make_task()

    found = event_of(task, Context(), "job", NOWHERE, {})

    assert (found.task_id, found.root_id, found.queue, found.attempt) == (None, None, None, 0)
