"""Anthropic's messages, from its own API, Bedrock or Vertex AI: input without the cache, which is added here."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count, get, within

FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
)


def read_message(raw: Any) -> Usage | None:
    """The usage of a message that says something of the cache or of thinking; None if this is none.

    >>> usage = read_message({"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 7})
    >>> usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens
    (95, 7, 90)
    """
    read, thinking = count(raw, "cache_read_input_tokens"), count(get(raw, "output_tokens_details"), "thinking_tokens")
    by_age = get(raw, "cache_creation")
    written = count(raw, "cache_creation_input_tokens")
    written_1h = count(by_age, "ephemeral_1h_input_tokens")
    if written is None:
        written = added(count(by_age, "ephemeral_5m_input_tokens"), written_1h)
    if read is None and written is None and thinking is None:
        return None
    return Usage(
        input_tokens=added(count(raw, "input_tokens"), read, written),
        output_tokens=count(raw, "output_tokens"),
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_output_tokens=thinking,
        cache_write_1h_input_tokens=within(written_1h, written),
    )


def merged(before: dict[str, Any], raw: Any) -> dict[str, Any]:
    """Usage of a later event over that of the earlier ones: each field is the whole until then, or left out.

    The first event of a stream has the input, the last one the output, and the input again only where it grew.
    """
    return before | {name: value for name in FIELDS if (value := get(raw, name)) is not None}
