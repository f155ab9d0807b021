"""Batches as somebody would make them who wants to break the writer."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from aurea_celery.clock import new_event_id
from aurea_celery.events import BATCH_MAX_BYTES, encode, encode_batch
from tests.support.events import events, make_event, make_source

EDGES = ("1e400", "-1", "9" * 400, "1.5", "true", "null", '"NaN"', '"Infinity"', '"\\u0000"', '"\\ud800"', "[]", "{}")
"""JSON values that are rarely meant."""

DEEP = 100_000
MANY_TOKENS = f'{{"usage":{{"input_tokens":{2**53 - 1}}}}}'


def one_batch(*raw_events: bytes) -> bytes:
    """A batch of one source with events that are already text."""
    return encode_batch([(make_source(captured=len(raw_events)), list(raw_events))])


def with_field(name: str, value: str) -> bytes:
    """A good event, but for one field whose JSON text is given."""
    fields = {**json.loads(encode(make_event())), name: "PLACE"}
    return json.dumps(fields).replace('"PLACE"', value).encode()


def with_call(**call: Any) -> bytes:
    """A good event with one model call of these fields."""
    return json.dumps({**json.loads(encode(make_event())), "calls": [{"usage": {}, **call}]}).encode()


def bad_events() -> dict[str, bytes]:
    """Events that must be refused, each by itself, by what is wrong with them; the last five reach the database."""
    impossible = ("NaN", "sNaN", "Infinity", "-1", "1E+400", "1E+99999999", "1E-99999999", "9" * 100_000)
    return {
        "no event": b"1",
        "missing fields": b"{}",
        "wrong type": with_field("job_id", "7"),
        "status with NUL": with_field("status", '"fi\\u0000ne"'),
        "beyond int8": with_field("latency_us", "9" * 30),
        "a million digits": with_field("latency_us", "9" * 1_000_000),
        "year 99999": with_field("ended_at_us", "3093527980799000000"),
        "year 0": with_field("ended_at_us", "-62167219200000000"),
        "invalid UTF-8": with_field("worker", '"PLACE"').replace(b"PLACE", b"\xff\xfe"),
        "too long": with_field("worker", '"' + "x" * 256 + '"'),
        "not an id": with_field("event_id", '"\'; DROP TABLE metrics; --"'),
        **{f"cost {cost[:11]}": with_call(cost_usd=cost) for cost in impossible},
        "NUL": with_field("worker", '"a\\u0000b"'),
        "NUL in a tag": with_field("tags", '{"a\\u0000b":"c"}'),
        "attempts beyond int4": with_field("attempt", str(2**53 - 1)),
        "tokens beyond int8": with_field("calls", f"[{','.join([MANY_TOKENS] * 2_000)}]"),
        "rows beyond int2": with_field("calls", json.dumps([{"usage": {}, "model": f"m{n}"} for n in range(40_000)])),
    }


def bad_batches() -> dict[str, str]:
    """Arguments that are no batch as a whole, by what is wrong with them."""
    source = encode(make_source()).decode()
    good = one_batch(encode(make_event())).decode()
    return {
        "empty": "",
        "no JSON": "hello",
        "deep": "[" * DEEP,
        "deep in the events": f'{{"v":1,"sources":[{{"source":{source},"events":[{"[" * DEEP}]}}]}}',
        "deep in an event": one_batch(with_field("x", "[" * DEEP + "]" * DEEP)).decode(),
        "lone surrogate in an event": one_batch(with_field("worker", '"\\ud800"')).decode(),
        "truncated": good[:-10],
        "lone surrogate": f"{good} \ud800",
        "lone surrogate inside": good.replace('"host"', '"\ud800"', 1),
        "too many events": f'{{"v":1,"sources":[{{"source":{source},"events":[{",".join("0" * 20_000)}]}}]}}',
        "too large": " " * (BATCH_MAX_BYTES + 1),
    }


@st.composite
def mutated_batches(draw: st.DrawFn) -> bytes:
    """A valid batch with some bytes changed, cut out, doubled, or replaced by a value that is rarely meant."""
    source = make_source(captured=2)
    data = bytearray(encode_batch([(source, [encode(event) for event in draw(st.lists(events(), max_size=3))])]))
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, max(0, len(data) - 1)))
        last = first + draw(st.integers(0, 12))
        change = st.binary(max_size=8) | st.sampled_from(EDGES).map(str.encode) | st.just(bytes(data[first:last] * 2))
        data[first:last] = draw(change)
    return bytes(data)


def twins(count: int) -> list[bytes]:
    """One event, again and again in one batch."""
    return [encode(make_event(event_id=new_event_id()))] * count
