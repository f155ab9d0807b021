"""``record_stream``: one model call for each stream, however it ends, and nothing changed for the host."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Generator
from typing import Any

import pytest

from aurea_celery import monitor_task, record_stream
from aurea_celery.capture import streams
from aurea_celery.events import Usage
from tests.support.sinks import RecordingSink
from tests.support.streams import BEGINNING, CHUNKS, WHOLE, Broken, Stream, only_call


def test_every_chunk_passes_and_one_call_is_recorded(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        stream = record_stream(Stream(), model="given", provider="anthropic")
        assert [chunk is one for chunk, one in zip(stream, CHUNKS, strict=True)] == [True] * 3
        assert len(sink.calls) == 1, "spend must survive a kill right after"
        assert list(stream) == []
        assert stream.close() == "closed"

    body()

    call = only_call(sink)
    assert (call.usage, call.model, call.response_model, call.provider) == (WHOLE, "given", "m", "anthropic")


def test_latency_and_time_to_first_token(sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens an answer is no token of it."""
    readings = iter([1_000_000, 1_250_000, 3_000_000])
    monkeypatch.setattr(streams, "monotonic_us", lambda: next(readings))

    @monitor_task("job", "task")
    def body() -> None:
        list(record_stream(Stream()))

    body()

    call = only_call(sink)
    assert (call.time_to_first_token_us, call.latency_us) == (250_000, 2_000_000)


@pytest.mark.parametrize("way", ["close", "with", "garbage", "end of the task", "failure of the task"])
def test_a_stream_that_is_given_up(way: str, sink: RecordingSink) -> None:
    kept: list[object] = []

    @monitor_task("job", "task")
    def body() -> None:
        inner = Stream()
        stream = record_stream(inner)
        next(stream)
        if way == "close":
            stream.close()
            assert inner.is_closed
        elif way == "with":
            with stream as entered:
                next(entered)
            assert inner.is_closed
        elif way == "garbage":
            del stream
            gc.collect()
            assert len(sink.calls) == 1
        elif way == "failure of the task":
            raise Broken
        else:
            kept.append(stream)

    if way == "failure of the task":
        with pytest.raises(Broken):
            body()
    else:
        body()

    assert only_call(sink).usage == BEGINNING
    kept.clear()
    assert len(sink.calls) == 1


def test_a_stream_that_tells_no_usage_is_a_call_of_unknown_usage(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        for chunk in record_stream(iter([{"text": "a"}, {"text": "b"}]), model="gpt-4"):
            assert chunk == {"text": "a"}
            break

    body()

    call = only_call(sink)
    assert (call.usage, call.model) == (Usage(), "gpt-4")
    assert call.usage.input_tokens is None


def test_a_stream_that_nobody_reads(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        record_stream(Stream())

    body()

    call = only_call(sink)
    assert (call.usage, call.time_to_first_token_us) == (Usage(), None)


def test_a_stream_that_breaks(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        with pytest.raises(Broken):
            list(record_stream(Stream(breaks_after=2)))

    body()

    assert only_call(sink).usage == BEGINNING


def test_the_streams_own_block_keeps_its_say(sink: RecordingSink) -> None:
    """A context manager may swallow what is raised inside."""

    @monitor_task("job", "task")
    def body() -> None:
        with record_stream(Stream()) as stream:
            assert stream.response == "the SDK's own"
            raise Broken

    body()

    assert only_call(sink).usage == Usage()


def test_a_generator_keeps_what_it_returns(sink: RecordingSink) -> None:
    def generate() -> Generator[Any, None, str]:
        yield from CHUNKS
        return "the end"

    @monitor_task("job", "task")
    def body() -> Generator[Any, None, str]:
        return (yield from record_stream(generate()))

    def consume() -> Generator[Any, None, None]:
        assert (yield from body()) == "the end"

    assert len(list(consume())) == 3
    assert only_call(sink).usage == WHOLE


def test_a_copy_is_the_same_call(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        assert list(copy.copy(record_stream(Stream()))) == CHUNKS

    body()

    assert only_call(sink).usage == WHOLE


def test_a_chunk_that_cannot_be_read_reaches_the_host(sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    chunks = [CHUNKS[0], {"type": "message_delta", "usage": {"output_tokens": -1}}]

    @monitor_task("job", "task")
    def body() -> None:
        assert list(record_stream(iter(chunks))) == chunks

    body()

    assert only_call(sink).usage == BEGINNING


@pytest.mark.parametrize("value", [None, 3, object()])
def test_what_is_no_stream_comes_back(value: object, sink: RecordingSink, caplog: pytest.LogCaptureFixture) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        assert record_stream(value) is value

    body()

    assert sink.last.calls == ()
    assert "is no stream" in caplog.text


def test_outside_of_an_execution_the_stream_comes_back(sink: RecordingSink, caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    with caplog.at_level(logging.WARNING):
        assert record_stream(stream) is stream
    assert sink.calls == []
    assert "record_stream was called outside" in caplog.text
