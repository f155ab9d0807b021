"""Reading usage from responses by their shape: attributes or mapping keys, no SDK needed.

================  ==============================================================  ===========================
shape             counts                                                          input includes the cache
================  ==============================================================  ===========================
OpenAI chat       ``prompt_tokens, completion_tokens`` and their ``_details``     yes
OpenAI responses  ``input_tokens, output_tokens`` and their ``_details``          yes
Anthropic         ``input_tokens, cache_*_input_tokens, output_tokens``           no: it is added here
Gemini            ``prompt_token_count, candidates_token_count, thoughts_...``    yes; thoughts are added to output
Bedrock Converse  ``inputTokens, cacheReadInputTokens, ..., outputTokens``        no: it is added here
only a total      ``total_tokens`` (any spelling)                                 -
================  ==============================================================  ===========================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from aurea_celery.events import Usage, clean_text

ENVELOPES = ("usage", "usage_metadata", "usageMetadata")
MODELS = ("model", "model_version", "modelVersion", "model_id")


class Reading(NamedTuple):
    """What a response says of itself."""

    usage: Usage
    model: str | None
    service_tier: str | None


def read_response(response: Any) -> Reading | None:
    """The usage of a provider's response, or of a mapping shaped like one; None if it carries none.

    >>> read_response({"model": "gpt-4", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}).usage.token_count
    10
    """
    for envelope in ENVELOPES:
        usage = read_usage(_get(response, envelope))
        if usage is not None:
            model = next((text for name in MODELS if (text := _text(response, name))), None)
            return Reading(usage, model, _text(response, "service_tier"))
    return None


def read_usage(raw: Any) -> Usage | None:
    """The counts of a usage object in any known shape; None if it is not one.

    Raises:
        UsageError: If the counts contradict each other.
    """
    if raw is None or isinstance(raw, Usage):
        return raw
    for shape in (_openai_chat, _anthropic, _openai_responses, _gemini, _bedrock, _total_only):
        counts = shape(raw)
        if counts is not None:
            return Usage(**counts)
    return None


def _get(source: Any, name: str) -> Any:
    if isinstance(source, Mapping):
        return source.get(name)
    # Of a class, a module or a mock-like object only plain data counts, which the callers check.
    return getattr(source, name, None)


def _count(source: Any, *path: str) -> int | None:
    for name in path:
        source = _get(source, name)
    return source if type(source) is int else None


def _text(source: Any, name: str) -> str | None:
    value = _get(source, name)
    return clean_text(value) if isinstance(value, str) and value else None


def _openai_chat(raw: Any) -> dict[str, Any] | None:
    prompt, completion = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    if prompt is None and completion is None:
        return None
    return {
        "input_tokens": prompt,
        "output_tokens": completion,
        "cache_read_input_tokens": _count(raw, "prompt_tokens_details", "cached_tokens"),
        "input_audio_tokens": _count(raw, "prompt_tokens_details", "audio_tokens"),
        "reasoning_output_tokens": _count(raw, "completion_tokens_details", "reasoning_tokens"),
        "output_audio_tokens": _count(raw, "completion_tokens_details", "audio_tokens"),
    }


def _openai_responses(raw: Any) -> dict[str, Any] | None:
    if _count(raw, "input_tokens") is None and _count(raw, "output_tokens") is None:
        return None
    return {
        "input_tokens": _count(raw, "input_tokens"),
        "output_tokens": _count(raw, "output_tokens"),
        "cache_read_input_tokens": _count(raw, "input_tokens_details", "cached_tokens"),
        "reasoning_output_tokens": _count(raw, "output_tokens_details", "reasoning_tokens"),
    }


def _anthropic(raw: Any) -> dict[str, Any] | None:
    read, written = _count(raw, "cache_read_input_tokens"), _count(raw, "cache_creation_input_tokens")
    fresh = _count(raw, "input_tokens")
    if fresh is None or (read is None and written is None):
        return None
    return {
        "input_tokens": fresh + (read or 0) + (written or 0),
        "output_tokens": _count(raw, "output_tokens"),
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
    }


def _gemini(raw: Any) -> dict[str, Any] | None:
    prompt, thoughts = _count(raw, "prompt_token_count"), _count(raw, "thoughts_token_count")
    if prompt is None:
        return None
    return {
        "input_tokens": prompt,
        "output_tokens": (_count(raw, "candidates_token_count") or 0) + (thoughts or 0),
        "cache_read_input_tokens": _count(raw, "cached_content_token_count"),
        "reasoning_output_tokens": thoughts,
    }


def _bedrock(raw: Any) -> dict[str, Any] | None:
    fresh = _count(raw, "inputTokens")
    if fresh is None:
        return None
    read, written = _count(raw, "cacheReadInputTokens"), _count(raw, "cacheWriteInputTokens")
    return {
        "input_tokens": fresh + (read or 0) + (written or 0),
        "output_tokens": _count(raw, "outputTokens"),
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
    }


def _total_only(raw: Any) -> dict[str, Any] | None:
    for name in ("total_tokens", "totalTokens", "total_token_count"):
        total = _count(raw, name)
        if total is not None:
            return {"total_tokens": total}
    return None
