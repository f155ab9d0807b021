"""OpenAI, and all who speak its protocols: Azure, Mistral, xAI, Groq, DeepSeek, OpenRouter, vLLM, LiteLLM and more."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import count, get, within


def read_chat(raw: Any) -> Usage | None:
    """``prompt_tokens`` and ``completion_tokens`` of chat completions and embeddings; the prompt includes the cache.

    >>> usage = read_chat({"prompt_tokens": 9, "total_tokens": 9})
    >>> usage.input_tokens
    9
    """
    prompt, completion = count(raw, "prompt_tokens"), count(raw, "completion_tokens")
    if prompt is None and completion is None:
        return None
    of_prompt, of_completion = get(raw, "prompt_tokens_details"), get(raw, "completion_tokens_details")
    reasoning = count(of_completion, "reasoning_tokens")
    # xAI and Gemini leave reasoning out of completion_tokens, which only their total says.
    if reasoning and count(raw, "total_tokens") == (prompt or 0) + (completion or 0) + reasoning:
        completion = (completion or 0) + reasoning
    written = _first(
        count(of_prompt, "cache_write_tokens", "cache_creation_tokens"), count(raw, "cache_creation_input_tokens")
    )
    written_1h = count(get(of_prompt, "cache_creation_token_details"), "ephemeral_1h_input_tokens")  # LiteLLM's
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_input_tokens=_first(
            count(of_prompt, "cached_tokens"), count(raw, "cache_read_input_tokens", "prompt_cache_hit_tokens")
        ),
        cache_write_input_tokens=written,
        reasoning_output_tokens=reasoning,
        input_audio_tokens=count(of_prompt, "audio_tokens"),
        output_audio_tokens=count(of_completion, "audio_tokens"),
        cache_write_1h_input_tokens=within(written_1h, written),
    )


def read_responses(raw: Any) -> Usage | None:
    """``input_tokens`` and ``output_tokens`` of responses, images and transcriptions; input includes the cache.

    >>> usage = read_responses({"input_tokens": 36, "output_tokens": 87, "input_tokens_details": {"cached_tokens": 30}})
    >>> usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens
    (36, 87, 30)
    """
    input_tokens, output_tokens = count(raw, "input_tokens"), count(raw, "output_tokens")
    if input_tokens is None and output_tokens is None:
        return None
    of_input = get(raw, "input_tokens_details") or get(raw, "input_token_details")
    of_output = get(raw, "output_tokens_details") or get(raw, "output_token_details")
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_input_tokens=count(of_input, "cached_tokens"),
        cache_write_input_tokens=count(of_input, "cache_write_tokens"),
        reasoning_output_tokens=count(of_output, "reasoning_tokens"),
        input_audio_tokens=count(of_input, "audio_tokens"),
        output_audio_tokens=count(of_output, "audio_tokens"),
    )


def _first(*counts: int | None) -> int | None:
    return next((one for one in counts if one is not None), None)
