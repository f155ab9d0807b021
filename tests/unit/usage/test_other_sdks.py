"""The real SDKs of Google, AWS, Mistral and Cohere, against a local server that answers as they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import boto3
import cohere
import pytest
from google import genai
from mistralai.client import Mistral

from aurea_celery import monitor_task, record_stream, record_usage
from tests.support.model_calls import HELLO, KEY, check, check_streamed
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink


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
    check(whole, "bedrock/converse/cached_by_age")
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
