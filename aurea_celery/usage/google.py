"""Gemini, from its API or Vertex AI, as the SDK's objects or as JSON: the prompt includes the cache."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import added, count, get


def read_usage_metadata(raw: Any) -> Usage | None:
    """The counts in either spelling; thoughts are output too, what tools gave back is input too.

    >>> usage = read_usage_metadata({"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 20})
    >>> usage.input_tokens, usage.output_tokens, usage.reasoning_output_tokens
    (9, 25, 20)
    """
    prompt = count(raw, "prompt_token_count", "promptTokenCount")
    thoughts = count(raw, "thoughts_token_count", "thoughtsTokenCount")
    answer = count(raw, "candidates_token_count", "candidatesTokenCount", "response_token_count", "responseTokenCount")
    if prompt is None and thoughts is None and answer is None:
        return None
    return Usage(
        input_tokens=added(prompt, count(raw, "tool_use_prompt_token_count", "toolUsePromptTokenCount")),
        output_tokens=added(answer, thoughts),
        cache_read_input_tokens=count(raw, "cached_content_token_count", "cachedContentTokenCount"),
        reasoning_output_tokens=thoughts,
        input_audio_tokens=_audio(raw, "prompt_tokens_details", "promptTokensDetails"),
        output_audio_tokens=_audio(raw, "candidates_tokens_details", "candidatesTokensDetails"),
    )


def _audio(raw: Any, *names: str) -> int | None:
    details = next((found for name in names if isinstance(found := get(raw, name), list)), [])
    heard = [count(one, "token_count", "tokenCount") for one in details if get(one, "modality") == "AUDIO"]
    return added(*heard)
