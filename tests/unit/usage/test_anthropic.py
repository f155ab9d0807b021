"""Anthropic's real SDK, against a local server that answers as Anthropic does."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from aurea_celery import monitor_task, record_stream, record_usage
from tests.support import golden
from tests.support.model_calls import HELLO, KEY, check, check_streamed, recorded
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink


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
