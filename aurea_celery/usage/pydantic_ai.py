"""Pydantic AI's ``RequestUsage`` and ``RunUsage``, the same for every provider: input includes the cache."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import count, get, within


def read_run_usage(raw: Any) -> Usage | None:
    """The usage of a request or a run; None if this is none. Its counts are 0 where nothing is known.

    >>> usage = read_run_usage({"input_tokens": 9, "output_tokens": 1, "cache_read_tokens": 8})
    >>> usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens
    (9, 1, 8)
    """
    read, input_tokens, output_tokens = (
        count(raw, name) for name in ("cache_read_tokens", "input_tokens", "output_tokens")
    )
    if read is None:
        return None
    if not (input_tokens or output_tokens):
        return Usage()
    written = count(raw, "cache_write_tokens")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_output_tokens=count(raw, "output_reasoning_tokens") or count(get(raw, "details"), "reasoning_tokens"),
        input_audio_tokens=count(raw, "input_audio_tokens"),
        output_audio_tokens=count(raw, "output_audio_tokens"),
        cache_write_1h_input_tokens=within(count(raw, "cache_write_1h_tokens"), written),
    )


def usage_of_run(result: Any, usage: Any) -> Any:
    """The usage of a run's result, which is a method in versions before 2; a method of anything else is not called."""
    return usage() if callable(usage) and type(result).__module__.startswith("pydantic_ai.") else None
