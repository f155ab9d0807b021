"""Bedrock Converse, by boto3: input without the cache, which is added here."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count


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
    return Usage(
        input_tokens=added(fresh, read, written),
        output_tokens=output_tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
    )
