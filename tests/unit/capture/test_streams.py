"""``record_stream``: one model call for each stream, however it ends, and nothing changed for the host."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
from collections.abc import AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Any, Self

import pytest

from aurea_celery import monitor_task, record_stream
from aurea_celery.capture import streams
from aurea_celery.events import ModelCall, Usage
from tests.support.sinks import RecordingSink

CHUNKS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"text": "Hello"}},
    {"type": "message_delta", "usage": {"output_tokens": 5}},
]
WHOLE = Usage(input_tokens=9, output_tokens=5)
BEGINNING = Usage(input_tokens=9, output_tokens=1)


class Broken(Exception):
    """What a provider's stream may raise."""


class Stream:
    """A stream as an SDK's: sync and async, a context manager, closed by name, with attributes of its own."""

    def __init__(self, *, breaks_after: int = 99) -> None:
        self.response = "the SDK's own"
        self.is_closed = False
        self._left = iter(CHUNKS)
        self._breaks_after = breaks_after

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._breaks_after -= 1
        if self._breaks_after < 0:
            raise Broken
        return next(self._left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: TracebackType | None) -> bool:
        self.is_closed = True
        return kind is Broken

    def close(self) -> str:
        self.is_closed = True
        return "closed"


class AsyncStream:
    """The same, asynchronous."""

    def __init__(self, *, breaks_after: int = 99) -> None:
        self._stream = Stream(breaks_after=breaks_after)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._stream)
        except StopIteration:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> str:
        return self._stream.close()

    @property
    def is_closed(self) -> bool:
        return self._stream.is_closed


def only_call(sink: RecordingSink) -> ModelCall:
    """The one call of the one execution that has ended."""
    (event,) = sink.finished
    (call,) = event.calls
    assert len(sink.calls) == 1
    return call


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


def test_async(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    async def body() -> None:
        inner = AsyncStream()
        async with record_stream(inner) as stream:
            assert [chunk async for chunk in stream] == CHUNKS
        assert inner.is_closed

    asyncio.run(body())

    assert only_call(sink).usage == WHOLE


@pytest.mark.parametrize("way", ["close", "aclose", "break", "exception", "cancel"])
def test_async_streams_that_do_not_end(way: str, sink: RecordingSink) -> None:
    async def generate() -> AsyncIterator[Any]:
        yield CHUNKS[0]
        await asyncio.sleep(60)

    @monitor_task("job", "task")
    async def body() -> None:
        stream: Any = record_stream(generate() if way in {"aclose", "cancel"} else AsyncStream(breaks_after=1))
        await anext(stream)
        if way == "close":
            assert await stream.close() == "closed"
        elif way == "aclose":
            await stream.aclose()
        elif way == "exception":
            with pytest.raises(Broken):
                await anext(stream)
        elif way == "cancel":
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(body())

    assert only_call(sink).usage == BEGINNING


def test_a_copy_is_the_same_call(sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    def body() -> None:
        assert list(copy.copy(record_stream(Stream()))) == CHUNKS

    body()

    assert only_call(sink).usage == WHOLE


def test_a_stream_of_both_kinds(sink: RecordingSink) -> None:
    """LiteLLM's is one."""

    class Both(Stream):
        def __aiter__(self) -> AsyncIterator[Any]:
            return self

        async def __anext__(self) -> Any:
            try:
                return next(self)
            except StopIteration:
                raise StopAsyncIteration from None

    @monitor_task("job", "task")
    async def body() -> None:
        stream = record_stream(Both())
        assert next(stream) is CHUNKS[0]
        assert [chunk async for chunk in stream] == CHUNKS[1:]

    asyncio.run(body())

    assert only_call(sink).usage == WHOLE


def test_a_stream_is_of_one_kind_only(sink: RecordingSink) -> None:
    """Who looks whether it is asynchronous must not be told wrong."""

    @monitor_task("job", "task")
    def body() -> None:
        assert not hasattr(record_stream(Stream()), "__aiter__")
        assert not hasattr(record_stream(AsyncStream()), "__iter__")

    body()


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
