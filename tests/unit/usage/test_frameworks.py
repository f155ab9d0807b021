"""What SDKs and frameworks make of an answer: their own types, LangChain's messages and Pydantic AI's runs."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import cohere
import openai
import pytest
from google import genai
from langchain_core.messages import AIMessage, AIMessageChunk
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage, RunUsage

from aurea_celery import monitor_task, record_stream, record_usage
from aurea_celery.events import Usage
from aurea_celery.usage import read_response, read_usage
from tests.support import golden
from tests.support.model_calls import KEY, check_streamed, recorded
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ChatCompletion, "openai/chat/audio"),
        (ChatCompletion, "xai/chat/reasoning_apart"),
        (ChatCompletion, "deepseek/chat/cached"),
        (ChatCompletion, "openrouter/chat/cached"),
        (ChatCompletion, "litellm/chat/anthropic_cached"),
        (ChatCompletion, "litellm/chat/anthropic_cached_by_age"),
        (Transcription, "openai/transcription/tokens"),
        (Transcription, "openai/transcription/duration"),
        (openai.types.ImagesResponse, "openai/images/plain"),
        (anthropic.types.Message, "anthropic/messages/plain"),
        (anthropic.types.Message, "anthropic/messages/cached"),
        (anthropic.types.Message, "anthropic/messages/cache_by_age_only"),
        (anthropic.types.Message, "anthropic/messages/thinking"),
        (genai.types.GenerateContentResponse, "google/generate_content/tools"),
        (genai.types.GenerateContentResponse, "google/generate_content/blocked"),
        (genai.types.GenerateContentResponse, "google/object/thoughts"),
        (cohere.V2ChatResponse, "cohere/chat/tokens_only"),
        (AIMessage, "langchain/message/anthropic_cached"),
        (AIMessage, "langchain/message/openai_flex"),
        (AIMessage, "langchain/message/plain"),
    ],
)
def test_the_sdks_own_types(kind: Any, name: str) -> None:
    """An answer is one to the SDK too, and what is read from its object is the same."""
    answer, expected = golden.case(name)

    assert read_response(kind.model_validate(answer)) == expected


def test_langchains_chunks_add_up(sink: RecordingSink) -> None:
    chunks = [AIMessageChunk.model_validate(chunk) for chunk in golden.answer("langchain/message/stream")]

    call = recorded(sink, lambda: list(record_stream(iter(chunks))))

    check_streamed(call, "langchain/message/stream")
    whole = chunks[0] + chunks[1] + chunks[2]
    assert read_usage(whole.usage_metadata) == call.usage


def test_pydantic_ai(models: ModelServer, sink: RecordingSink) -> None:
    async def body() -> None:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{models.url}/v1") as client:
            model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
            record_usage(await Agent(model).run("Say hello."))

    asyncio.run(monitor_task("job", "task")(body)())

    (call,) = sink.last.calls
    said = golden.expected("openai/chat/cached").usage
    assert (call.usage.input_tokens, call.usage.output_tokens) == (said.input_tokens, said.output_tokens)
    assert (call.usage.cache_read_input_tokens, call.usage.reasoning_output_tokens) == (1920, 64)
    assert (call.model, call.provider) == ("gpt-4o-2024-08-06", "openai")


def test_pydantic_ais_counts() -> None:
    usage = Usage(input_tokens=9, output_tokens=5, cache_read_input_tokens=8, cache_write_input_tokens=0)
    for kind in (RequestUsage, RunUsage):
        read = read_usage(kind(input_tokens=9, output_tokens=5, cache_read_tokens=8))
        assert read is not None
        assert (read.input_tokens, read.output_tokens, read.cache_read_input_tokens) == (9, 5, 8)
        assert read_usage(kind()) == Usage(), "zeros that only mean that nothing is known"
        assert read_usage(kind) is None
    assert read_usage({"input_tokens": 9, "output_tokens": 5, "cache_read_tokens": 8, "cache_write_tokens": 0}) == usage


def test_pydantic_ais_own_type() -> None:
    answer, expected = golden.case("pydantic_ai/run/anthropic_cached_by_age")
    assert expected is not None

    assert read_usage(TypeAdapter(RunUsage).validate_python(answer["usage"])) == expected.usage


def test_the_usage_of_a_run_was_a_method_once() -> None:
    class AgentRunResult:
        def usage(self) -> RunUsage:
            return RunUsage(input_tokens=9, output_tokens=5)

    AgentRunResult.__module__ = "pydantic_ai.run"

    reading = read_response(AgentRunResult())

    assert reading is not None
    assert reading.usage.token_count == 14
