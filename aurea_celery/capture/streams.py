"""``record_stream``: a stream of a provider's SDK that counts itself when it ends, however it ends."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, TypeVar, cast

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.calls import call_of, count_call
from aurea_celery.capture.context import Execution, current_execution
from aurea_celery.capture.keywords import forgiving
from aurea_celery.capture.registry import is_off
from aurea_celery.clock import monotonic_us
from aurea_celery.events import Usage
from aurea_celery.usage import StreamReader, begins_answer

S = TypeVar("S")

# Where the helpers of Anthropic's and OpenAI's SDKs keep what they put together, when the host reads texts only.
SNAPSHOTS = ("current_message_snapshot", "current_completion_snapshot")


@forgiving
def record_stream(stream: S, *, model: str | None = None, provider: str | None = None) -> S:
    """Record one model call of the running task or monitored function when its stream ends.

    What comes back takes the stream's place: the same chunks, the same exceptions, the same attributes, and a context
    manager if the stream is one. The call is recorded when the stream is exhausted, closed, given up or breaks, at the
    latest when the task ends, with the usage that its chunks have told until then; if they told none, it is not known,
    which is not zero. Latency and time to first token run from this call on.

    Args:
        stream: What the SDK returned: an iterator, an async iterator, or a context manager that gives one.
        model: The model's name; wins over what the chunks say.
        provider: The provider's name, such as ``openai``.

    Outside of an execution the stream itself comes back; nothing is ever raised.

    >>> from aurea_celery import monitor_task, record_stream
    >>> @monitor_task("job_1", "greet")
    ... def greet() -> str:
    ...     chunks = [{"text": "Hello "}, {"text": "Ada", "usage": {"prompt_tokens": 9, "completion_tokens": 2}}]
    ...     return "".join(chunk["text"] for chunk in record_stream(iter(chunks), model="gpt-4"))
    >>> greet()
    'Hello Ada'
    """
    recorded = _recorded(stream, model, provider)
    return stream if recorded is None else cast("S", recorded)


@guarded
def _recorded(stream: Any, model: str | None, provider: str | None) -> _RecordedStream | None:
    execution, kind = current_execution(), type(stream)
    if execution is None and is_off():
        return None
    if execution is None:
        log_once_a_minute(
            "no_execution_of_stream",
            logging.WARNING,
            "aurea-celery: record_stream was called outside of a task or monitored function, so nothing is recorded",
        )
        return None
    of_class = {
        (True, False): _SyncStream,
        (False, True): _AsyncStream,
        (True, True): _SyncAndAsyncStream,
    }.get(
        (
            hasattr(kind, "__iter__") or hasattr(kind, "__enter__"),
            hasattr(kind, "__aiter__") or hasattr(kind, "__aenter__"),
        )
    )
    if of_class is None:
        log_once_a_minute(
            "no_stream",
            logging.WARNING,
            "aurea-celery: record_stream was given something that is no stream (%s), so nothing is recorded",
            kind.__name__,
        )
        return None
    return of_class(stream, _Recording(execution, model, provider))


class _Recording:
    """The one model call of a stream, while it runs; has no hold on the stream."""

    def __init__(self, execution: Execution, model: str | None, provider: str | None) -> None:
        self._execution, self._model, self._provider = execution, model, provider
        self._reader = StreamReader()
        self._begun_us = monotonic_us()
        self._first_us: int | None = None
        self._has_ended = False
        if execution.open_streams is None:
            execution.open_streams = set()
        execution.open_streams.add(self.end)

    @guarded
    def take(self, chunk: Any) -> None:
        """Look at the next chunk on its way to the host."""
        if self._first_us is None and begins_answer(chunk):
            self._first_us = monotonic_us()
        self._reader.add(chunk)

    @guarded
    def take_snapshot(self, stream: Any) -> None:
        """Look at what a helper put together, if it kept the chunks to itself."""
        if self._has_ended or self._reader.reading is not None:
            return
        for name in SNAPSHOTS:
            try:
                self._reader.add(getattr(stream, name, None))
            except AssertionError:  # the helper's own: it has put nothing together
                continue

    @guarded
    def end(self) -> None:
        """Record the call, once."""
        if self._has_ended:
            return
        self._has_ended = True
        (self._execution.open_streams or set()).discard(self.end)
        reading = self._reader.reading
        call = call_of(
            reading,
            reading.usage if reading else Usage(),
            model=self._model,
            provider=self._provider,
            latency_us=monotonic_us() - self._begun_us,
            time_to_first_token_us=None if self._first_us is None else self._first_us - self._begun_us,
        )
        count_call(self._execution, call, response_id=reading.response_id if reading else None)


class _RecordedStream:
    """Stands in for a stream; what it does not know, the stream does."""

    def __init__(self, stream: Any, recording: _Recording) -> None:
        self._manager = self._stream = stream
        self._recording = recording
        self._iterator: Any = None
        self._async_iterator: Any = None

    def __getattr__(self, name: str) -> Any:
        if "_stream" not in self.__dict__:  # not yet made, as in a copy
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self) -> None:
        if "_recording" in self.__dict__:
            self._end()

    def close(self) -> Any:
        """Close the stream; an awaitable if the stream's own way to close is one."""
        closed = None
        try:
            closed = self._stream.close() if hasattr(self._stream, "close") else None
        finally:
            if not inspect.isawaitable(closed):
                self._end()
        return self._ended_after(closed) if inspect.isawaitable(closed) else closed

    async def _ended_after(self, closed: Awaitable[Any]) -> Any:
        try:
            return await closed
        finally:
            self._end()

    def _end(self) -> None:
        self._recording.take_snapshot(self._stream)
        self._recording.end()


class _SyncStream(_RecordedStream, Iterator[Any]):
    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            if self._iterator is None:
                self._iterator = iter(self._stream)
            chunk = next(self._iterator)
        except BaseException:
            self._end()
            raise
        self._recording.take(chunk)
        return chunk

    def __enter__(self) -> Any:
        try:
            self._stream = self._manager.__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: Any) -> Any:
        try:
            return self._manager.__exit__(*error)
        finally:
            self._end()


class _AsyncStream(_RecordedStream, AsyncIterator[Any]):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            if self._async_iterator is None:
                self._async_iterator = aiter(self._stream)
            chunk = await anext(self._async_iterator)
        except BaseException:
            self._end()
            raise
        self._recording.take(chunk)
        return chunk

    async def __aenter__(self) -> Any:
        try:
            self._stream = await self._manager.__aenter__()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *error: Any) -> Any:
        try:
            return await self._manager.__aexit__(*error)
        finally:
            self._end()

    async def aclose(self) -> None:
        """Close the stream."""
        try:
            await self._stream.aclose()
        finally:
            self._end()


class _SyncAndAsyncStream(_SyncStream, _AsyncStream):
    """A stream that can be read either way, as LiteLLM's."""
