"""What is a usage, what is none, and what no reading may ever say."""

from __future__ import annotations

import types
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.errors import UsageError
from aurea_celery.events import Usage
from aurea_celery.usage import StreamReader, read_part, read_response, read_span, read_usage
from aurea_celery.usage import spans as span_names


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        [],
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": {"x": 1}},
        object(),
        {"meta": {"total_tokens": 1}},
    ],
)
def test_what_carries_no_usage_is_not_zero(value: object) -> None:
    assert read_response(value) is None
    assert read_part(value) is None


def test_counts_that_contradict_each_other_are_an_error() -> None:
    with pytest.raises(UsageError):
        read_usage({"input_tokens": 1, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 5}})


class Deep:
    def __getattr__(self, _name: str) -> Deep:
        return Deep()


class Defaults:
    """A class whose fields have defaults, as a dataclass's or a model's."""

    input_tokens = 0
    output_tokens = 0
    usage = types.SimpleNamespace(prompt_tokens=1, completion_tokens=1)


@pytest.mark.parametrize(
    "mock", [Deep(), Mock(), MagicMock(), MagicMock(spec=dict), Defaults, types.ModuleType("usage")]
)
def test_a_mock_a_class_and_a_module_are_no_response(mock: Any) -> None:
    assert read_response(mock) is None
    assert read_usage(mock) is None
    assert read_part(mock) is None


def test_a_method_of_a_stranger_is_not_called() -> None:
    class Machine:
        def usage(self) -> dict[str, int]:
            raise AssertionError("this is not ours to call")

    assert read_response(Machine()) is None


def test_true_is_not_a_count() -> None:
    assert read_usage({"prompt_tokens": True, "completion_tokens": "3", "total_tokens": 1.0}) is None


def test_a_chunk_that_contradicts_itself_leaves_what_was_known() -> None:
    reader = StreamReader()
    reader.add({"usage": {"prompt_tokens": 3, "completion_tokens": 1}})

    with pytest.raises(UsageError):
        reader.add({"usage": {"prompt_tokens": -3, "completion_tokens": 2}})

    assert reader.reading is not None
    assert reader.reading.usage == Usage(input_tokens=3, output_tokens=1)


COUNTS = st.none() | st.integers(-1, 40)
DETAILS = st.dictionaries(
    st.sampled_from(
        [
            *("cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "thinking_tokens"),
            *("cache_read", "cache_creation", "reasoning", "audio", "input_tokens", "output_tokens"),
            *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
        ]
    ),
    COUNTS,
)
FIELDS = [
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount"),
    *("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "toolUsePromptTokenCount"),
    "cache_write_1h_tokens",
]
PARTS = [
    *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"),
    *("input_token_details", "output_token_details", "cache_creation", "billed_units", "tokens"),
]
USAGES = st.builds(
    lambda counts, details: {**counts, **details},
    st.dictionaries(st.sampled_from(FIELDS), COUNTS),
    st.dictionaries(st.sampled_from(PARTS), DETAILS),
)
SPANS = st.dictionaries(
    st.sampled_from(
        [
            *(span_names.INPUT + span_names.OUTPUT + span_names.TOTAL),
            *(span_names.CACHE_READ + span_names.CACHE_WRITE + span_names.CACHE_WRITE_1H + span_names.REASONING),
        ]
    ),
    COUNTS,
)


def check_parts_are_not_larger_than_their_whole(usage: Usage) -> None:
    whole_input, whole_output = usage.input_tokens or 0, usage.output_tokens or 0
    assert (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0) <= whole_input
    assert (usage.cache_write_1h_input_tokens or 0) <= (usage.cache_write_input_tokens or 0)
    assert (usage.input_audio_tokens or 0) <= whole_input
    assert max(usage.reasoning_output_tokens or 0, usage.output_audio_tokens or 0) <= whole_output


@given(USAGES)
def test_no_part_is_larger_than_its_whole(raw: dict[str, Any]) -> None:
    try:
        usage = read_usage(raw)
    except UsageError:
        return
    if usage is not None:
        check_parts_are_not_larger_than_their_whole(usage)


@given(st.lists(USAGES, max_size=4))
def test_no_part_of_a_stream_is_larger_than_its_whole(usages: list[dict[str, Any]]) -> None:
    reader = StreamReader()
    kinds = ("message_start", "message_delta", "AIMessageChunk", None)
    for kind, usage in zip(kinds, usages, strict=False):
        try:
            reader.add({"type": kind, "usage": usage})
        except UsageError:
            continue
    if reader.reading is not None:
        check_parts_are_not_larger_than_their_whole(reader.reading.usage)


@given(SPANS)
def test_no_part_of_a_span_is_larger_than_its_whole(attributes: dict[str, Any]) -> None:
    try:
        reading = read_span(attributes)
    except UsageError:
        return
    if reading is not None:
        check_parts_are_not_larger_than_their_whole(reading.usage)


CURRENT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.response.model": "claude-sonnet-4-5-20250929",
    "gen_ai.response.id": "msg_1",
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.cache_read.input_tokens": 60,
    "gen_ai.usage.cache_creation.input_tokens": 30,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.reasoning.output_tokens": 15,
    "gen_ai.input.messages": "a prompt",
}


def test_a_span_by_the_current_conventions() -> None:
    reading = read_span(CURRENT)

    assert reading is not None
    assert reading.usage == Usage(
        input_tokens=100,
        output_tokens=20,
        cache_read_input_tokens=60,
        cache_write_input_tokens=30,
        reasoning_output_tokens=15,
    )
    assert reading.request_model == "claude-sonnet-4-5"
    assert reading.response_model == "claude-sonnet-4-5-20250929"
    assert (reading.provider, reading.response_id) == ("anthropic", "msg_1")
    assert reading.time_to_first_token_us == 250_000
    assert "a prompt" not in repr(reading)


@pytest.mark.parametrize(
    ("attributes", "usage"),
    [
        (
            {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 1},
            Usage(input_tokens=9, output_tokens=1),
        ),
        ({"llm.usage.prompt_tokens": 9, "llm.usage.completion_tokens": 1}, Usage(input_tokens=9, output_tokens=1)),
        ({"llm.usage.prompt_tokens": 9, "llm.usage.total_tokens": 10}, Usage(input_tokens=9)),
        ({"llm.usage.total_tokens": 10}, Usage(total_tokens=10)),
        (
            {
                "gen_ai.usage.input_tokens": 5,
                "gen_ai.usage.cache_read_input_tokens": 90,
                "gen_ai.usage.output_tokens": 1,
            },
            Usage(input_tokens=95, output_tokens=1, cache_read_input_tokens=90),
        ),
        (
            {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cache_write.input_tokens": 4},
            Usage(input_tokens=5, cache_write_input_tokens=4),
        ),
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4"}, None),
    ],
)
def test_spans_by_other_conventions(attributes: dict[str, Any], usage: Usage | None) -> None:
    reading = read_span(attributes)

    assert (reading.usage if reading else None) == usage
