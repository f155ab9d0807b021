"""The providers' real SDKs, against a local server that answers as they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anthropic
import boto3
import cohere
import openai
import pytest
from google import genai
from langchain_core.messages import AIMessage, AIMessageChunk
from mistralai.client import Mistral
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage, RunUsage

from aurea_celery import monitor_task, record_stream, record_usage
from aurea_celery.events import ModelCall, Usage
from aurea_celery.usage import read_response, read_usage
from tests.support import golden
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink

HELLO: Any = [{"role": "user", "content": "Say hello."}]
KEY = "no-key"


def recorded(sink: RecordingSink, body: Callable[[], object]) -> ModelCall:
    """The one call that a body records."""
    monitor_task("job", "task")(body)()
    (call,) = sink.last.calls
    return call


def check(call: ModelCall, name: str) -> None:
    """A call is what its answer in the golden set says."""
    expected = golden.expected(name)
    assert call.usage == expected.usage
    assert (call.response_model, call.service_tier, call.provider) == (
        expected.model,
        expected.service_tier,
        expected.provider,
    )


def check_streamed(call: ModelCall, name: str) -> None:
    """A streamed call is what its chunks say, and took some time."""
    check(call, name)
    assert call.latency_us is not None
    assert call.time_to_first_token_us is not None
    assert 0 <= call.time_to_first_token_us <= call.latency_us


# OpenAI


def openai_client(models: ModelServer) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{models.url}/v1", max_retries=0)


def openai_chat(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=HELLO)


def openai_chat_stream(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )


OPENAI: dict[str, Callable[[openai.OpenAI], Any]] = {
    "openai/chat/cached": openai_chat,
    "openai/responses/cached": lambda client: client.responses.create(model="gpt-5", input="Say hello."),
    "openai/embeddings/plain": lambda client: client.embeddings.create(model="text-embedding-3-small", input="Hello"),
}
OPENAI_STREAMS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "openai/chat/stream": openai_chat_stream,
    "openai/responses/stream": lambda client: client.responses.create(model="gpt-5", input="Say hello.", stream=True),
}


@pytest.mark.parametrize("name", OPENAI)
def test_openai(name: str, models: ModelServer, sink: RecordingSink) -> None:
    with openai_client(models) as client:
        check(recorded(sink, lambda: record_usage(OPENAI[name](client))), name)


@pytest.mark.parametrize("name", OPENAI_STREAMS)
def test_openai_streams(name: str, models: ModelServer, sink: RecordingSink) -> None:
    with openai_client(models) as client:
        check_streamed(recorded(sink, lambda: list(record_stream(OPENAI_STREAMS[name](client)))), name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ChatCompletion, "openai/chat/audio"),
        (ChatCompletion, "xai/chat/reasoning_apart"),
        (ChatCompletion, "deepseek/chat/cached"),
        (ChatCompletion, "openrouter/chat/cached"),
        (ChatCompletion, "litellm/chat/anthropic_cached"),
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


def test_openai_async(models: ModelServer, sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    async def body() -> None:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{models.url}/v1") as client:
            record_usage(await client.chat.completions.create(model="gpt-4o", messages=HELLO))
            stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            async with record_stream(stream) as chunks:
                assert len([chunk async for chunk in chunks]) == 5

    asyncio.run(body())

    whole, streamed = sink.last.calls
    check(whole, "openai/chat/cached")
    check_streamed(streamed, "openai/chat/stream")


def test_the_sdks_stream_stays_what_it_is(models: ModelServer, sink: RecordingSink) -> None:
    def body() -> None:
        with record_stream(openai_chat_stream(client)) as stream:
            assert stream.response.status_code == 200
            assert next(stream).id == "chatcmpl-4"
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Hello"

    with openai_client(models) as client:
        check_streamed(recorded(sink, body), "openai/chat/stream")


def test_openais_helper_for_streams(models: ModelServer, sink: RecordingSink) -> None:
    def body() -> None:
        with record_stream(client.chat.completions.stream(model="gpt-4o", messages=HELLO)) as stream:
            assert "content.done" in [event.type for event in stream]
            assert stream.get_final_completion().choices[0].message.content == "Hello"

    with openai_client(models) as client:
        check_streamed(recorded(sink, body), "openai/chat/stream")


# Anthropic


def anthropic_client(models: ModelServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=KEY, base_url=models.url, max_retries=0)


def ask_anthropic(client: Any, **more: Any) -> Any:
    return client.messages.create(model="any-model", max_tokens=9, messages=HELLO, **more)


def test_anthropic(models: ModelServer, sink: RecordingSink) -> None:
    with anthropic_client(models) as client:
        check(recorded(sink, lambda: record_usage(ask_anthropic(client))), "anthropic/messages/cached")


@pytest.mark.parametrize("name", ["stream", "stream_cumulative", "stream_input_again"])
def test_anthropic_streams(name: str, models: ModelServer, sink: RecordingSink) -> None:
    models.use("/v1/messages#stream", f"anthropic/messages/{name}")
    with anthropic_client(models) as client:
        call = recorded(sink, lambda: list(record_stream(ask_anthropic(client, stream=True))))
    check_streamed(call, f"anthropic/messages/{name}")


def test_anthropic_async(models: ModelServer, sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    async def body() -> None:
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=models.url) as client:
            record_usage(await ask_anthropic(client))
            async with record_stream(await ask_anthropic(client, stream=True)) as events:
                assert len([event async for event in events]) == 7

    asyncio.run(body())

    whole, streamed = sink.last.calls
    check(whole, "anthropic/messages/cached")
    check_streamed(streamed, "anthropic/messages/stream")


def test_anthropics_helper_for_streams(models: ModelServer, sink: RecordingSink) -> None:
    def body() -> None:
        helper = client.messages.stream(model="any-model", max_tokens=9, messages=HELLO)
        with record_stream(helper) as stream:
            assert [event.type for event in stream][-1] == "message_stop"

    with anthropic_client(models) as client:
        check_streamed(recorded(sink, body), "anthropic/messages/stream")


def test_anthropics_helper_read_as_texts(models: ModelServer, sink: RecordingSink) -> None:
    """The helper keeps the events to itself then; it has put the message together."""

    def body() -> None:
        helper = client.messages.stream(model="any-model", max_tokens=9, messages=HELLO)
        with record_stream(helper) as stream:
            assert "".join(stream.text_stream) == "Hello"

    with anthropic_client(models) as client:
        check(recorded(sink, body), "anthropic/messages/stream")


def test_an_answer_that_breaks_off(models: ModelServer, sink: RecordingSink) -> None:
    """The provider bills what it has answered until then; that the message was overloaded is the host's to see."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    models.answers["/v1/messages#stream"] = [*golden.answer("anthropic/messages/stream")[:4], error]

    def body() -> None:
        with pytest.raises(anthropic.APIStatusError):
            list(record_stream(ask_anthropic(client, stream=True)))

    with anthropic_client(models) as client:
        call = recorded(sink, body)

    assert (call.usage.input_tokens, call.usage.output_tokens) == (1209, 1)


# The others


def test_google(models: ModelServer, sink: RecordingSink) -> None:
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=models.url))

    def body() -> None:
        record_usage(client.models.generate_content(model="gemini-2.5-flash", contents="Say hello."))
        stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="Say hello.")
        assert len(list(record_stream(stream))) == 3

    monitor_task("job", "task")(body)()
    client.close()

    whole, streamed = sink.last.calls
    check(whole, "google/generate_content/thoughts")
    check_streamed(streamed, "google/generate_content/stream")


def test_bedrock(models: ModelServer, sink: RecordingSink) -> None:
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=models.url,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    asked: dict[str, Any] = {
        "modelId": "anthropic.claude-sonnet-4-5",
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
    }

    def body() -> None:
        record_usage(client.converse(**asked), model=asked["modelId"])
        assert len(list(record_stream(client.converse_stream(**asked)["stream"], model="claude"))) == 5

    monitor_task("job", "task")(body)()
    client.close()

    whole, streamed = sink.last.calls
    check(whole, "bedrock/converse/cached")
    check_streamed(streamed, "bedrock/converse/stream")
    assert (whole.model, streamed.model) == ("anthropic.claude-sonnet-4-5", "claude")


def test_mistral(models: ModelServer, sink: RecordingSink) -> None:
    def body() -> None:
        with Mistral(api_key=KEY, server_url=f"{models.url}/mistral") as client:
            record_usage(client.chat.complete(model="mistral-small-latest", messages=HELLO))
            with record_stream(client.chat.stream(model="mistral-small-latest", messages=HELLO)) as events:
                assert len(list(events)) == 2

    monitor_task("job", "task")(body)()

    whole, streamed = sink.last.calls
    check(whole, "mistral/chat/plain")
    check_streamed(streamed, "mistral/chat/stream")


def test_cohere(models: ModelServer, sink: RecordingSink) -> None:
    client = cohere.ClientV2(api_key=KEY, base_url=models.url)

    def body() -> None:
        record_usage(client.chat(model="command-a", messages=HELLO), model="command-a")
        assert len(list(record_stream(client.chat_stream(model="command-a", messages=HELLO)))) == 5
        record_usage(client.embed(model="embed-v4.0", texts=["Hello"], input_type="clustering"))

    monitor_task("job", "task")(body)()

    whole, streamed, embedded = sink.last.calls
    check(whole, "cohere/chat/billed")
    check_streamed(streamed, "cohere/chat/stream")
    check(embedded, "cohere/embed/plain")


async def ask_google(url: str) -> None:
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=url))
    record_usage(await client.aio.models.generate_content(model="gemini-2.5-flash", contents="Hello"))
    stream = await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello")
    assert len([chunk async for chunk in record_stream(stream)]) == 3
    await client.aio.aclose()
    client.close()


async def ask_mistral(url: str) -> None:
    async with Mistral(api_key=KEY, server_url=f"{url}/mistral") as client:
        record_usage(await client.chat.complete_async(model="mistral-small-latest", messages=HELLO))
        async with record_stream(await client.chat.stream_async(model="any", messages=HELLO)) as events:
            assert len([event async for event in events]) == 2


async def ask_cohere(url: str) -> None:
    async with cohere.AsyncClientV2(api_key=KEY, base_url=url) as client:
        record_usage(await client.chat(model="command-a", messages=HELLO))
        stream = record_stream(client.chat_stream(model="command-a", messages=HELLO))
        assert len([event async for event in stream]) == 5


@pytest.mark.parametrize(
    ("ask", "whole", "streamed"),
    [
        (ask_google, "google/generate_content/thoughts", "google/generate_content/stream"),
        (ask_mistral, "mistral/chat/plain", "mistral/chat/stream"),
        (ask_cohere, "cohere/chat/billed", "cohere/chat/stream"),
    ],
)
def test_the_others_async(
    ask: Callable[[str], Coroutine[Any, Any, None]],
    whole: str,
    streamed: str,
    models: ModelServer,
    sink: RecordingSink,
) -> None:
    asyncio.run(monitor_task("job", "task")(ask)(models.url))

    first, second = sink.last.calls
    check(first, whole)
    check_streamed(second, streamed)


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


def test_the_usage_of_a_run_was_a_method_once() -> None:
    class AgentRunResult:
        def usage(self) -> RunUsage:
            return RunUsage(input_tokens=9, output_tokens=5)

    AgentRunResult.__module__ = "pydantic_ai.run"

    reading = read_response(AgentRunResult())

    assert reading is not None
    assert reading.usage.token_count == 14
