"""``record_usage``, and what counts a model call once, whoever tells of it.

A model call can be told of twice: by the host (``record_usage``, ``record_stream``) and by its span
(:mod:`aurea_celery.otel`). Both mean the same response if its id is the same, or, where one of them has no id, if the
counts are the same. It is one call then, with what the host says of it in the first place.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.context import Execution, current_execution, to_money
from aurea_celery.events import ModelCall, Usage, clean_text
from aurea_celery.usage import Reading, read_part, read_usage

US_PER_MS = 1000
MOST_HANDED_ON = 64


_spans_are_told = False


def expect_spans() -> None:
    """From here on spans tell of calls too."""
    global _spans_are_told  # noqa: PLW0603 - a process has span processors or not
    _spans_are_told = True


@dataclass(slots=True, eq=False)
class Told:
    """A model call that one side told of; ``place`` is where the execution keeps it, None if another one does."""

    place: int | None
    call: ModelCall
    response_id: str | None

    def is_same(self, call: ModelCall, response_id: str | None) -> bool:
        """Whether another call is the same response's."""
        if self.response_id is not None and response_id is not None:
            return self.response_id == response_id
        mine, other = self.call.usage, call.usage
        if mine.split_is_known and other.split_is_known:
            return (mine.input_tokens, mine.output_tokens) == (other.input_tokens, other.output_tokens)
        return mine.token_count == other.token_count > 0


def count_call(execution: Execution, call: ModelCall, *, response_id: str | None = None, by_span: bool = False) -> None:
    """Add a model call to an execution, unless the other side told of the same response before.

    A call that comes after the end is an execution of its own.
    """
    if not _spans_are_told:
        execution.add_call(call)
        return
    ours, theirs = _sides(execution, by_span=by_span)
    twin = next((one for one in tuple(theirs) if one.is_same(call, response_id)), None)
    if twin is None:
        ours.append(Told(execution.add_call(call), call, response_id))
        return
    theirs.remove(twin)
    if twin.place is not None:
        by_host, by_its_span = (twin.call, call) if by_span else (call, twin.call)
        execution.correct_call(twin.place, _merged(by_host, by_its_span))


def pass_on(inner: Execution, around: Execution) -> None:
    """Let the execution around one that has ended know what its spans told: it may record what comes out of it."""
    if inner.told is not None:
        told, _ = _sides(inner, by_span=True)
        known, _ = _sides(around, by_span=True)
        known.extend(Told(None, one.call, one.response_id) for one in told[-MOST_HANDED_ON:])


def _sides(execution: Execution, *, by_span: bool) -> tuple[list[Told], list[Told]]:
    """What the side that tells now has told alone, and what the other has."""
    if execution.told is None:
        execution.told = ([], [])
    by_host, by_spans = execution.told
    return (by_spans, by_host) if by_span else (by_host, by_spans)


def _merged(host: ModelCall, span: ModelCall) -> ModelCall:
    """One call of both: what the host says, and what only the span knows."""
    names = (name for name in ModelCall.__struct_fields__ if name != "usage" and getattr(host, name) is None)
    usage = _merged_usage(host.usage, span.usage)
    return msgspec.structs.replace(host, usage=usage, **{name: getattr(span, name) for name in names})


def _merged_usage(host: Usage, span: Usage) -> Usage:
    if not host.split_is_known and host.token_count == span.token_count:
        return span
    if (host.input_tokens, host.output_tokens) != (span.input_tokens, span.output_tokens):
        return host
    details = {name: getattr(span, name) for name in Usage.__struct_fields__ if getattr(host, name) is None}
    return msgspec.structs.replace(host, **details)


def call_of(
    reading: Reading | None,
    usage: Usage,
    *,
    model: str | None,
    provider: str | None,
    latency_us: int | None = None,
    time_to_first_token_us: int | None = None,
    cost_usd: Decimal | None = None,
) -> ModelCall:
    """A model call from what a response says of itself and what the host says of it, which wins."""
    said, tier, from_ = (reading.model, reading.service_tier, reading.provider) if reading else (None, None, None)
    return ModelCall(
        usage=usage,
        provider=clean_text(provider) if provider else from_,
        model=clean_text(model) if model else said,
        response_model=said,
        service_tier=tier,
        latency_us=latency_us,
        time_to_first_token_us=time_to_first_token_us,
        cost_usd=cost_usd,
    )


@guarded
def record_usage(
    response: Any = None,
    *,
    model: str | None = None,
    provider: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_tokens: int | None = None,
    cache_read_input_tokens: int | None = None,
    cache_write_input_tokens: int | None = None,
    reasoning_output_tokens: int | None = None,
    cost_usd: Decimal | float | str | None = None,
    latency_ms: float | None = None,
    time_to_first_token_ms: float | None = None,
) -> None:
    """Record one model call of the running task or monitored function, as it happens.

    Args:
        response: A provider's response, its usage object, or the chunk of a stream that carries it; or leave it out
            and give counts.
        model: The model's name; wins over what the response says.
        provider: The provider's name, such as ``openai``.
        input_tokens: All input tokens, cached ones included.
        output_tokens: All output tokens, reasoning included.
        total_tokens: The total, when input and output are not known apart.
        cache_read_input_tokens: Of the input, those read from a cache.
        cache_write_input_tokens: Of the input, those written to a cache.
        reasoning_output_tokens: Of the output, those spent on reasoning.
        cost_usd: What the call cost in USD, if you know it better than any price list.
        latency_ms: How long the call took, in milliseconds.
        time_to_first_token_ms: How long the first token took, in milliseconds.

    Outside of an execution, and with counts that cannot be true, nothing is recorded; nothing is ever raised.

    >>> from aurea_celery import monitor_task, record_usage
    >>> @monitor_task("job_1", "greet")
    ... def greet() -> str:
    ...     record_usage(model="gpt-4", input_tokens=90, output_tokens=12)
    ...     return "Hello Ada"
    >>> greet()
    'Hello Ada'
    """
    execution = current_execution()
    if execution is None:
        log_once_a_minute(
            "no_execution",
            logging.WARNING,
            "aurea-celery: record_usage was called outside of a task or monitored function, so nothing is recorded; "
            "a thread that a task starts is outside, unless it runs carry_context(function)",
        )
        return
    reading = usage = None
    if response is not None:
        reading = read_part(response)
        usage = reading.usage if reading else read_usage(response)
        execution.note_counted(response)
    if usage is None:
        usage = Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            total_tokens=total_tokens,
            cache_read_input_tokens=cache_read_input_tokens,
            cache_write_input_tokens=cache_write_input_tokens,
            reasoning_output_tokens=reasoning_output_tokens,
        )
    call = call_of(
        reading,
        usage,
        model=model,
        provider=provider,
        latency_us=_to_microseconds(latency_ms),
        time_to_first_token_us=_to_microseconds(time_to_first_token_ms),
        cost_usd=None if cost_usd is None else to_money(cost_usd),
    )
    count_call(execution, call, response_id=reading.response_id if reading else None)


def _to_microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * US_PER_MS)
