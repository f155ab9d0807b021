"""Streams as SDKs make them, and the one call that is recorded of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

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
