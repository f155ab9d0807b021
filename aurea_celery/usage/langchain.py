"""LangChain's ``usage_metadata``, the same for every provider: input includes the cache."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count, get, within

# langchain-openai puts the service tier before what is priced by it.
TIERS = ("", "priority_", "flex_")


def read_usage_metadata(raw: Any) -> Usage | None:
    """The usage of a message that has details of LangChain's own; None if this is none.

    >>> usage = read_usage_metadata({"input_tokens": 9, "output_tokens": 1, "input_token_details": {"cache_read": 8}})
    >>> usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens
    (9, 1, 8)
    """
    of_input, of_output = get(raw, "input_token_details"), get(raw, "output_token_details")
    read, written = _tiered(of_input, "cache_read"), _written(of_input)
    written_1h = count(of_input, "ephemeral_1h_input_tokens")
    reasoning = _tiered(of_output, "reasoning")
    heard, spoken = count(of_input, "audio"), count(of_output, "audio")
    if all(one is None for one in (read, written, reasoning, heard, spoken)):
        return None
    return Usage(
        input_tokens=count(raw, "input_tokens"),
        output_tokens=count(raw, "output_tokens"),
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_output_tokens=reasoning,
        input_audio_tokens=heard,
        output_audio_tokens=spoken,
        cache_write_1h_input_tokens=within(written_1h, written),
    )


def _tiered(details: Any, name: str) -> int | None:
    return added(*(count(details, tier + name) for tier in TIERS))


def _written(details: Any) -> int | None:
    """Anthropic's writes by age take the place of their sum, which then is 0."""
    by_age = added(count(details, "ephemeral_5m_input_tokens"), count(details, "ephemeral_1h_input_tokens"))
    return _tiered(details, "cache_creation") or by_age
