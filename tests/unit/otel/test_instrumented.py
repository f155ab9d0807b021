"""``AureaSpanProcessor`` with the real SDKs and what instruments them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic_ai import Agent, InstrumentationSettings
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.test import TestModel

from aurea_celery import monitor_task, record_stream, record_usage
from aurea_celery.events import Usage
from tests.support import golden
from tests.support.model_calls import HELLO, KEY, calls_of
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink
from tests.support.spans import inputs, spanning, usage


def chat(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=HELLO)


def chat_stream(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )


def respond(client: openai.OpenAI) -> Any:
    return client.responses.create(model="gpt-5", input="Say hello.")


def respond_stream(client: openai.OpenAI) -> Any:
    return client.responses.create(model="gpt-5", input="Say hello.", stream=True)


CALLS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "openai/chat/cached": chat,
    "openai/chat/stream": lambda client: list(chat_stream(client)),
    "openai/responses/cached": respond,
    "openai/responses/stream": lambda client: list(respond_stream(client)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_openai_sdk(name: str, client: openai.OpenAI, sink: RecordingSink) -> None:
    (call,) = calls_of(sink, lambda: CALLS[name](client))

    expected = golden.expected(name)
    assert call.usage.input_tokens == expected.usage.input_tokens
    assert call.usage.output_tokens == expected.usage.output_tokens
    assert call.usage.cache_read_input_tokens == expected.usage.cache_read_input_tokens
    assert call.usage.cache_write_input_tokens == expected.usage.cache_write_input_tokens
    assert call.usage.reasoning_output_tokens == expected.usage.reasoning_output_tokens
    assert (call.provider, call.model, call.service_tier) == ("openai", expected.model, expected.service_tier)
    assert call.latency_us is not None
    assert (call.time_to_first_token_us is not None) == name.endswith("stream")


def test_the_openai_sdk_embeds(client: openai.OpenAI, sink: RecordingSink) -> None:
    (call,) = calls_of(sink, lambda: client.embeddings.create(model="text-embedding-3-small", input="Hello"))

    assert (call.usage, call.model) == (Usage(input_tokens=8), "text-embedding-3-small")


def test_the_async_openai_sdk(client: openai.OpenAI, models: ModelServer, sink: RecordingSink) -> None:
    @monitor_task("job", "task")
    async def body() -> None:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{models.url}/v1") as asynchronous:
            await asyncio.gather(
                asynchronous.chat.completions.create(model="gpt-4o", messages=HELLO),
                asynchronous.chat.completions.create(model="gpt-4o", messages=HELLO),
            )
            stream = await asynchronous.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            assert len([chunk async for chunk in stream]) == 5

    asyncio.run(body())

    assert inputs(sink.last.calls) == [2006] * 3


def test_an_agents_span_around_the_sdk_is_not_added(
    client: openai.OpenAI, tracer: trace.Tracer, sink: RecordingSink
) -> None:
    def body() -> None:
        with spanning(tracer, "invoke_agent", usage(4012, 600)):
            chat(client)
            list(chat_stream(client))

    assert inputs(calls_of(sink, body)) == [2006, 2006]


def test_what_is_recorded_too_counts_once_and_as_the_host_says(client: openai.OpenAI, sink: RecordingSink) -> None:
    def body() -> None:
        record_usage(chat(client), model="my-deployment", cost_usd="0.5")
        record_usage(respond(client).usage, model="from the usage alone")
        list(record_stream(chat_stream(client), model="streamed"))

    whole, of_usage, streamed = calls_of(sink, body)

    assert (whole.model, str(whole.cost_usd), whole.provider) == ("my-deployment", "0.5", "openai")
    assert whole.latency_us is not None, "the span knows it"
    assert (of_usage.model, of_usage.usage.input_tokens) == ("from the usage alone", 1500)
    assert (streamed.model, streamed.usage.input_tokens) == ("streamed", 2006)
    assert streamed.time_to_first_token_us is not None


def test_a_response_that_a_task_returns_counts_once(client: openai.OpenAI, sink: RecordingSink) -> None:
    assert inputs(calls_of(sink, lambda: chat(client))) == [2006]


def test_a_request_that_fails_tells_of_no_usage(
    client: openai.OpenAI, models: ModelServer, sink: RecordingSink
) -> None:
    models.answers.clear()

    def body() -> None:
        with pytest.raises(openai.OpenAIError):
            chat(client)

    assert calls_of(sink, body) == ()


@pytest.mark.parametrize("is_streamed", [False, True])
def test_anthropics_sdk_makes_spans_by_itself(
    is_streamed: bool, provider: TracerProvider, models: ModelServer, sink: RecordingSink
) -> None:
    def body() -> None:
        options: Any = {"tracer_provider": provider}
        with anthropic.Anthropic(api_key=KEY, base_url=models.url, open_telemetry=options) as sdk:
            if is_streamed:
                list(sdk.messages.create(model="any-model", max_tokens=9, messages=HELLO, stream=True))
            else:
                record_usage(sdk.messages.create(model="any-model", max_tokens=9, messages=HELLO))

    (call,) = calls_of(sink, body)

    expected = golden.expected(f"anthropic/messages/{'stream' if is_streamed else 'cached'}").usage
    assert (call.usage.input_tokens, call.usage.output_tokens) == (expected.input_tokens, expected.output_tokens)
    assert call.usage.cache_read_input_tokens == expected.cache_read_input_tokens
    assert call.usage.cache_write_input_tokens == expected.cache_write_input_tokens
    assert call.usage.cache_write_1h_input_tokens == expected.cache_write_1h_input_tokens


def test_pydantic_ais_agents(provider: TracerProvider, sink: RecordingSink) -> None:
    """Its span of a run repeats the sum of those of its requests."""
    settings = InstrumentationSettings(tracer_provider=provider, use_aggregated_usage_attribute_names=False)
    agent = Agent(TestModel(), capabilities=[Instrumentation(settings=settings)])

    @agent.tool_plain
    def look_up() -> str:
        return "found"

    spent: list[int] = []

    calls = calls_of(sink, lambda: spent.append(asyncio.run(agent.run("Say hello.")).usage.input_tokens))

    assert len(calls) == 2, "one request that calls the tool, one that answers"
    assert [sum(call.usage.input_tokens or 0 for call in calls)] == spent
