"""Bedrock Converse, by boto3: input without the cache, which is added here."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count, get, text, within


def read_converse(raw: Any) -> Usage | None:
    """``inputTokens``, ``outputTokens`` and the cache's.

    >>> usage = read_converse({"inputTokens": 30, "outputTokens": 6, "totalTokens": 41, "cacheReadInputTokens": 5})
    >>> usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens
    (35, 6, 5)
    """
    fresh, output_tokens = count(raw, "inputTokens"), count(raw, "outputTokens")
    if fresh is None and output_tokens is None:
        return None
    read, written = count(raw, "cacheReadInputTokens"), count(raw, "cacheWriteInputTokens")
    by_age = get(raw, "cacheDetails")
    written_1h = (
        [count(one, "inputTokens") for one in by_age if text(one, "ttl") == "1h"] if type(by_age) is list else []
    )
    return Usage(
        input_tokens=added(fresh, read, written),
        output_tokens=output_tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=within(added(*written_1h), written),
    )


def service_tier_of(response: Any) -> str | None:
    """The tier that a response, or the last event of a stream, names.

    >>> service_tier_of({"serviceTier": {"type": "flex"}})
    'flex'
    """
    return text(get(response, "serviceTier"), "type")
