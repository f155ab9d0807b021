"""``record_stream`` of asynchronous streams, and of those that are both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aurea_celery import monitor_task, record_stream
from tests.support.sinks import RecordingSink
from tests.support.streams import BEGINNING, CHUNKS, WHOLE, AsyncStream, Broken, Stream, only_call


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
