"""Golden set: responses as providers send them, and the usage that is in them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aurea_celery.errors import UsageError
from aurea_celery.events import Usage
from aurea_celery.usage import read_response, read_usage

GOLDEN: dict[str, tuple[dict[str, Any], Usage, str | None]] = {
    "openai chat completions": (
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "gpt-4o-2024-08-06",
            "service_tier": "default",
            "usage": {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
            },
        },
        Usage(
            input_tokens=2006,
            output_tokens=300,
            cache_read_input_tokens=1920,
            reasoning_output_tokens=64,
            input_audio_tokens=0,
            output_audio_tokens=0,
        ),
        "gpt-4o-2024-08-06",
    ),
    "openai responses": (
        {
            "object": "response",
            "model": "gpt-4.1",
            "usage": {
                "input_tokens": 36,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 87,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 123,
            },
        },
        Usage(input_tokens=36, output_tokens=87, cache_read_input_tokens=0, reasoning_output_tokens=0),
        "gpt-4.1",
    ),
    "openai embeddings": (
        {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        Usage(input_tokens=8),
        "text-embedding-3-small",
    ),
    "anthropic messages with cache": (
        {
            "type": "message",
            "model": "claude-3-opus-20240229",
            "usage": {
                "input_tokens": 21,
                "cache_creation_input_tokens": 188,
                "cache_read_input_tokens": 1000,
                "output_tokens": 393,
            },
        },
        Usage(input_tokens=1209, output_tokens=393, cache_read_input_tokens=1000, cache_write_input_tokens=188),
        "claude-3-opus-20240229",
    ),
    "anthropic messages": (
        {"type": "message", "model": "claude-3-haiku", "usage": {"input_tokens": 10, "output_tokens": 25}},
        Usage(input_tokens=10, output_tokens=25),
        "claude-3-haiku",
    ),
    "gemini": (
        {
            "model_version": "gemini-2.5-flash",
            "usage_metadata": {
                "prompt_token_count": 100,
                "cached_content_token_count": 40,
                "candidates_token_count": 20,
                "thoughts_token_count": 30,
                "total_token_count": 150,
            },
        },
        Usage(input_tokens=100, output_tokens=50, cache_read_input_tokens=40, reasoning_output_tokens=30),
        "gemini-2.5-flash",
    ),
    "bedrock converse": (
        {
            "output": {"message": {"role": "assistant"}},
            "usage": {"inputTokens": 30, "outputTokens": 628, "totalTokens": 658, "cacheReadInputTokens": 5},
        },
        Usage(input_tokens=35, output_tokens=628, cache_read_input_tokens=5),
        None,
    ),
    "only a total": ({"model": "m", "usage": {"total_tokens": 7}}, Usage(total_tokens=7), "m"),
}


def as_object(value: Any) -> Any:
    """The same response as an SDK's object."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return value


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("shape", ["mapping", "object"])
def test_golden(name: str, shape: str) -> None:
    response, usage, model = GOLDEN[name]

    reading = read_response(response if shape == "mapping" else as_object(response))

    assert reading is not None
    assert reading.usage == usage
    assert reading.model == model


@pytest.mark.parametrize(
    "value", [None, 1, "text", [], {}, {"usage": None}, {"usage": {}}, {"usage": {"x": 1}}, object()]
)
def test_what_carries_no_usage_is_not_zero(value: object) -> None:
    assert read_response(value) is None


def test_counts_that_contradict_each_other_are_an_error() -> None:
    with pytest.raises(UsageError):
        read_usage({"input_tokens": 1, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 5}})


def test_a_mock_is_no_response() -> None:
    class Mock:
        def __getattr__(self, _name: str) -> Mock:
            return Mock()

    assert read_response(Mock()) is None
