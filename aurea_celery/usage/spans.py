"""Usage in the attributes of a span, by OpenTelemetry's GenAI conventions, old and new; numbers and names only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count, text, within

INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
TOTAL = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
CACHE_READ = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
)
CACHE_WRITE_1H = ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",)
REASONING = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
)
INPUT_AUDIO = ("gen_ai.usage.audio.input_tokens", "gen_ai.usage.details.input_audio_tokens")
OUTPUT_AUDIO = ("gen_ai.usage.audio.output_tokens", "gen_ai.usage.details.output_audio_tokens")
TIER = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.response.service_tier",
)
FIRST_CHUNK_SECONDS = "gen_ai.response.time_to_first_chunk"


class SpanReading(NamedTuple):
    """What the span of a model call says; ``time_to_first_token_us`` is in microseconds."""

    usage: Usage
    request_model: str | None
    response_model: str | None
    provider: str | None
    service_tier: str | None
    response_id: str | None
    time_to_first_token_us: int | None


def read_span(attributes: Mapping[str, Any]) -> SpanReading | None:
    """The usage in a span's attributes; None if they hold none.

    Raises:
        UsageError: If the counts contradict each other.

    >>> usage = read_span({"gen_ai.request.model": "gpt-4", "llm.usage.total_tokens": 7}).usage
    >>> usage.total_tokens
    7
    """
    usage = _usage(attributes)
    if usage is None:
        return None
    return SpanReading(
        usage=usage,
        request_model=text(attributes, "gen_ai.request.model", "llm.request.model"),
        response_model=text(attributes, "gen_ai.response.model", "llm.response.model"),
        provider=text(attributes, "gen_ai.provider.name", "gen_ai.system"),
        service_tier=text(attributes, *TIER),
        response_id=text(attributes, "gen_ai.response.id"),
        time_to_first_token_us=_microseconds(attributes.get(FIRST_CHUNK_SECONDS)),
    )


def _usage(attributes: Mapping[str, Any]) -> Usage | None:
    input_tokens, output_tokens = count(attributes, *INPUT), count(attributes, *OUTPUT)
    if input_tokens is None and output_tokens is None:
        total = count(attributes, *TOTAL)
        return None if total is None else Usage(total_tokens=total)
    read, written = count(attributes, *CACHE_READ), count(attributes, *CACHE_WRITE)
    cached = added(read, written) or 0
    if cached > (input_tokens or 0):
        # The conventions count the cache as input; a cache that is larger was left out by whoever wrote the span.
        input_tokens = (input_tokens or 0) + cached
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_output_tokens=count(attributes, *REASONING),
        input_audio_tokens=count(attributes, *INPUT_AUDIO),
        output_audio_tokens=count(attributes, *OUTPUT_AUDIO),
        cache_write_1h_input_tokens=within(count(attributes, *CACHE_WRITE_1H), written),
    )


def _microseconds(seconds: Any) -> int | None:
    return round(seconds * 1_000_000) if type(seconds) is float and 0 <= seconds < 2**32 else None
