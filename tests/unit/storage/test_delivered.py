"""Whatever a message holds: events that can be written, or a reason; never anything else, and never for long."""

from __future__ import annotations

import json
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.events import BATCH_MAX_BYTES, encode
from aurea_celery.pricing import PriceBook
from aurea_celery.storage.bulk import copy_lines
from aurea_celery.storage.delivered import read_batch
from aurea_celery.storage.rows import rows_of
from tests.support.events import make_event
from tests.support.hostile import bad_batches, bad_events, mutated_batches, one_batch

BOOK = PriceBook()
FOR_THE_DATABASE = {"NUL", "NUL in a tag", "attempts beyond int4", "tokens beyond int8", "rows beyond int2"}
quickly = settings(deadline=2_000, max_examples=300, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def check(data: str | bytes) -> None:
    """Read it as the writer does, up to the lines for the database."""
    try:
        delivered = read_batch(data).delivered
    except msgspec.DecodeError as error:
        assert error.args != ("",)  # noqa: PT017 - either this, or what follows
        return
    for part in delivered:
        assert all(one.reason for one in part.unreadable)
        for event in part.events:
            assert b"".join(copy_lines(rows_of(event, BOOK.cost)))


@quickly
@given(st.binary(max_size=2_000) | st.text(st.characters(codec=None), max_size=2_000))
def test_any_bytes_and_any_text(data: str | bytes) -> None:
    check(data)


@quickly
@given(json_values, st.booleans())
def test_any_json(value: object, inside: bool) -> None:
    text = json.dumps(value)
    check(one_batch(text.encode()) if inside else text)


@quickly
@given(mutated_batches())
def test_any_damage_to_a_good_batch(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("name", bad_events())
def test_a_bad_event_is_refused_and_its_neighbours_are_not(name: str) -> None:
    good = encode(make_event())

    delivered = read_batch(one_batch(good, bad_events()[name], good)).delivered

    refused = 0 if name in FOR_THE_DATABASE else 1
    assert (len(delivered[0].events), len(delivered[0].unreadable)) == (3 - refused, refused)


@pytest.mark.parametrize("name", bad_batches())
def test_a_bad_batch_is_refused(name: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_batch(bad_batches()[name])


def test_a_large_message_costs_bounded_time_and_memory() -> None:
    """The worst there is: as many values as fit, none of them an event."""
    text = one_batch(b"PLACE").decode().replace("PLACE", ",".join("0" * (BATCH_MAX_BYTES // 16)))
    tracemalloc.start()
    begun = time.process_time()

    with pytest.raises(msgspec.DecodeError, match="length <= 10000"):
        read_batch(text)

    seconds, (_, most_bytes) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 20
    assert most_bytes < 64 * len(text)
