"""``record_usage``: the host says what a model call used."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.calls import call_of, count_call
from aurea_celery.capture.context import current_execution, with_cost
from aurea_celery.capture.keywords import forgiving
from aurea_celery.capture.registry import is_off
from aurea_celery.errors import UsageError
from aurea_celery.events import Usage
from aurea_celery.usage import Reading, read_part, read_usage
from aurea_celery.usage.fields import text

US_PER_MS = 1000
LONGEST_MS = 10**12


@forgiving
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
    cache_write_1h_input_tokens: int | None = None,
    reasoning_output_tokens: int | None = None,
    input_audio_tokens: int | None = None,
    output_audio_tokens: int | None = None,
    service_tier: str | None = None,
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
        cache_write_input_tokens: Of the input, those written to a cache, for however long.
        cache_write_1h_input_tokens: Of those written to a cache, those that stay for an hour.
        reasoning_output_tokens: Of the output, those spent on reasoning.
        input_audio_tokens: Of the input, those of audio.
        output_audio_tokens: Of the output, those of audio.
        service_tier: Whose price holds, such as ``batch``, ``flex`` or ``priority``; wins over what the response says.
        cost_usd: What the call cost in USD, if you know it better than any price list. What is no finite number >= 0
            counts as not known, with the reason, and no price list is asked instead.
        latency_ms: How long the call took, in milliseconds; what is no time (negative, NaN) counts as not known.
        time_to_first_token_ms: How long the first token took, in milliseconds; the same.

    Outside of an execution nothing is recorded. Of counts that cannot be true none is, but the call is there, with its
    cost if you say it; so it is with a keyword that is not known, which the log says. Nothing is ever raised.

    >>> from aurea_celery import monitor_task, record_usage
    >>> @monitor_task("job_1", "greet")
    ... def greet() -> str:
    ...     record_usage(model="gpt-4", input_tokens=90, output_tokens=12)
    ...     return "Hello Ada"
    >>> greet()
    'Hello Ada'
    """
    execution = current_execution()
    if execution is None and is_off():
        return
    if execution is None:
        log_once_a_minute(
            "no_execution",
            logging.WARNING,
            "aurea-celery: record_usage was called outside of a task or monitored function, so nothing is recorded; "
            "a thread that a task starts is outside, unless it runs carry_context(function)",
        )
        return
    if response is not None and response is execution.counted_result:
        return  # a handler of Celery's that runs after the body is given what the body returned
    reading = usage = contradiction = None
    try:
        if response is not None:
            reading = read_part(response)
            usage = reading.usage if reading else read_usage(response)
        if usage is None:
            usage = Usage(
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                total_tokens=total_tokens,
                cache_read_input_tokens=cache_read_input_tokens,
                cache_write_input_tokens=cache_write_input_tokens,
                cache_write_1h_input_tokens=cache_write_1h_input_tokens,
                reasoning_output_tokens=reasoning_output_tokens,
                input_audio_tokens=input_audio_tokens,
                output_audio_tokens=output_audio_tokens,
            )
    except UsageError as error:
        usage, contradiction = Usage(), error
        reading = Reading(usage, model=text(response, "model"))
    if response is not None:
        execution.note_counted(response)
    call = call_of(
        reading,
        usage,
        model=model,
        provider=provider,
        service_tier=service_tier,
        latency_us=_to_microseconds(latency_ms),
        time_to_first_token_us=_to_microseconds(time_to_first_token_ms),
    )
    if cost_usd is not None:
        call = with_cost(call, lambda: cost_usd, "cost_usd is")
    count_call(execution, call, response_id=reading.response_id if reading else None)
    if contradiction is not None:
        raise contradiction


def _to_microseconds(milliseconds: float | None) -> int | None:
    """A duration as it is sent; None if it is none, such as what two clocks give that disagree."""
    if milliseconds is None or not 0 <= milliseconds <= LONGEST_MS:
        return None
    return round(milliseconds * US_PER_MS)
