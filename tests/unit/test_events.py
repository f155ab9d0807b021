"""Events and their wire form."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.clock import new_event_id
from aurea_celery.errors import UsageError
from aurea_celery.events import (
    TEXT_MAX_CHARACTERS,
    Source,
    TaskEvent,
    Usage,
    clean_text,
    decode_batch,
    decode_event,
    encode,
    encode_batch,
)
from tests.support.events import CONTRADICTIONS, events, make_event

SOURCE = Source(source_id=new_event_id(), host="host", pid=1, captured=3, dropped={"outbox_full": 1})


@given(st.lists(events(), max_size=5))
def test_a_batch_comes_back_as_it_was(sent: list[TaskEvent]) -> None:
    batch = decode_batch(encode_batch([(SOURCE, [encode(event) for event in sent])]))

    assert batch.sources[0].source == SOURCE
    assert [decode_event(raw) for raw in batch.sources[0].events] == sent


def test_a_bad_event_does_not_spoil_its_neighbours() -> None:
    good = encode(make_event())
    batch = decode_batch(encode_batch([(SOURCE, [good, b'{"event_id":1}', good])]))

    first, bad, last = batch.sources[0].events
    assert decode_event(first) == decode_event(last)
    with pytest.raises(msgspec.ValidationError):
        decode_event(bad)


def test_a_newer_sender_may_say_more() -> None:
    text = encode(make_event()).replace(b"{", b'{"said_by_a_newer_release":[1],', 1)

    assert decode_event(text).task_name == "app.task"


@pytest.mark.parametrize(
    "field", ["event_id", "job_id", "task_name", "status", "started_at_us", "ended_at_us", "latency_us"]
)
def test_an_event_without_a_field_is_refused(field: str) -> None:
    fields = msgspec.json.decode(encode(make_event()))
    del fields[field]

    with pytest.raises(msgspec.ValidationError, match=field):
        decode_event(msgspec.json.encode(fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", ""),
        ("job_id", "x" * (TEXT_MAX_CHARACTERS + 1)),
        ("status", "fine"),
        ("latency_us", -1),
        ("latency_us", 1.5),
        ("started_at_us", 2**53),
        ("attempt", True),
        ("event_id", "short"),
        ("calls", [{"usage": {"input_tokens": -1}}]),
        ("calls", [{"usage": {"input_tokens": 1, "cache_read_input_tokens": 2}}]),
        ("calls", [{"usage": {}, "cost_usd": "NaN"}]),
        ("calls", [{"usage": {}, "cost_usd": "-1"}]),
    ],
)
def test_an_event_with_an_impossible_value_is_refused(field: str, value: object) -> None:
    fields = msgspec.json.decode(encode(make_event())) | {field: value}

    with pytest.raises(msgspec.ValidationError):
        decode_event(msgspec.json.encode(fields))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"v":1}', '{"v":2,"sources":[]}', '{"v":1,"sources":[1]}', '{"v":1']
)
def test_what_is_not_a_batch_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_batch(text)


@pytest.mark.parametrize(
    "counts",
    [
        *CONTRADICTIONS,
        {"total_tokens": 1, "input_tokens": 1, "output_tokens": 1},
        {"input_tokens": True},
        {"input_tokens": 1.0},
        {"input_tokens": 2**53},
    ],
)
def test_counts_that_cannot_be_true_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Usage(**counts)


def test_not_known_is_not_zero() -> None:
    assert Usage() != Usage(input_tokens=0, output_tokens=0)
    assert not Usage().split_is_known
    assert Usage(input_tokens=0).split_is_known


@given(st.text(st.characters()))
def test_cleaned_text_can_be_sent_and_stored(text: str) -> None:
    cleaned = clean_text(text)

    assert len(cleaned) <= TEXT_MAX_CHARACTERS
    assert "\0" not in cleaned
    cleaned.encode("utf-8")
    if text.isalnum() and text.isascii() and len(text) <= TEXT_MAX_CHARACTERS:
        assert cleaned == text
