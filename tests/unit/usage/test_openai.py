"""OpenAI's real SDK, against a local server that answers as OpenAI does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from aurea_celery import monitor_task, record_stream, record_usage
from tests.support.model_calls import HELLO, KEY, check, check_streamed, recorded
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink


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
