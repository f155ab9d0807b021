"""``record_usage``: the host says what a model call used."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.calls import call_of, count_call
from aurea_celery.capture.context import current_execution, to_money
from aurea_celery.events import Usage
from aurea_celery.usage import read_part, read_usage

US_PER_MS = 1000


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
