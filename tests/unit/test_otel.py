"""``AureaSpanProcessor``: with spans of our own, and with the real SDKs and what instruments them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from pydantic_ai import Agent, InstrumentationSettings
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.test import TestModel

from aurea_celery import monitor_task, otel, record_stream, record_usage
from aurea_celery.capture.recording import uncounted
from aurea_celery.events import ModelCall, Usage
from aurea_celery.otel import AureaSpanProcessor
from tests.support import golden
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink
from tests.unit.capture.conftest import sink
from tests.unit.usage.conftest import models

__all__ = ["models", "sink"]

HELLO: Any = [{"role": "user", "content": "Say hello."}]
KEY = "no-key"


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """A tracer provider with nothing but our processor."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(AureaSpanProcessor())
    yield made
    made.shutdown()


@pytest.fixture
def tracer(provider: TracerProvider) -> trace.Tracer:
    """Makes spans."""
    return provider.get_tracer("tests")


@pytest.fixture
def client(provider: TracerProvider, models: ModelServer) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK, instrumented by OpenTelemetry's own package."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    with openai.OpenAI(api_key=KEY, base_url=f"{models.url}/v1", max_retries=0) as made:
        yield made
    instrumentor.uninstrument()


def calls_of(sink: RecordingSink, body: Callable[[], object]) -> tuple[ModelCall, ...]:
    """What is recorded while a body runs."""
    monitor_task("job", "task")(body)()
    return sink.last.calls


def usage(input_tokens: int, output_tokens: int = 1) -> dict[str, Any]:
    """A span's attributes."""
    return {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens}


@contextlib.contextmanager
def spanning(tracer: trace.Tracer, operation: str, attributes: dict[str, Any] | None = None) -> Iterator[None]:
    """A span that says what it used when it ends."""
    with tracer.start_as_current_span(operation, attributes={"gen_ai.operation.name": operation}) as span:
        yield
        span.set_attributes(attributes or {})


def inputs(calls: tuple[ModelCall, ...]) -> list[int | None]:
    """What each call read."""
    return [call.usage.input_tokens for call in calls]


# The real SDK with its official instrumentation


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


# Spans of our own


def test_the_span_that_ends_first_counts(tracer: trace.Tracer, sink: RecordingSink) -> None:
    def body() -> None:
        with spanning(tracer, "invoke_workflow", usage(30)), spanning(tracer, "invoke_agent", usage(30)):
            with spanning(tracer, "chat", usage(10)), spanning(tracer, "chat", usage(10)):
                pass
            with spanning(tracer, "chat", usage(20)), spanning(tracer, "http"):
                pass
        with spanning(tracer, "invoke_agent", usage(7)):
            pass

    assert inputs(calls_of(sink, body)) == [10, 20, 7]


def test_what_a_tool_spends_is_its_own(tracer: trace.Tracer, sink: RecordingSink) -> None:
    def body() -> None:
        with spanning(tracer, "chat", usage(10)), spanning(tracer, "execute_tool"), spanning(tracer, "chat", usage(20)):
            pass

    assert inputs(calls_of(sink, body)) == [20, 10]


def test_a_span_that_outlives_the_one_around_it(tracer: trace.Tracer, sink: RecordingSink) -> None:
    """The agent has told of its tokens already."""

    def body() -> None:
        with spanning(tracer, "invoke_agent", usage(30)):
            inner = tracer.start_span("chat")
        inner.set_attributes(usage(10))
        inner.end()

    assert inputs(calls_of(sink, body)) == [30]


def test_a_span_belongs_to_the_execution_it_started_in(tracer: trace.Tracer, sink: RecordingSink) -> None:
    spans: list[trace.Span] = []

    def end_elsewhere() -> None:
        spans[0].set_attributes(usage(10))
        spans[0].end()

    def body() -> None:
        spans.append(tracer.start_span("chat"))
        thread = threading.Thread(target=end_elsewhere)
        thread.start()
        thread.join()

    assert inputs(calls_of(sink, body)) == [10]


def test_a_thread_that_was_handed_opentelemetrys_context_only(tracer: trace.Tracer, sink: RecordingSink) -> None:
    def body() -> None:
        with tracer.start_as_current_span("around") as around:
            context = trace.set_span_in_context(around)
            thread = threading.Thread(
                target=lambda: tracer.start_span("chat", context=context, attributes=usage(10)).end()
            )
            thread.start()
            thread.join()

    assert inputs(calls_of(sink, body)) == [10]


def test_a_span_outside_of_an_execution_is_nobodys(tracer: trace.Tracer, sink: RecordingSink) -> None:
    tracer.start_span("chat", attributes=usage(10)).end()

    assert sink.calls == []


def test_a_span_that_ends_after_its_execution_is_not_counted(
    tracer: trace.Tracer, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    spans: list[trace.Span] = []
    before = uncounted["execution_ended"]
    assert calls_of(sink, lambda: spans.append(tracer.start_span("chat", attributes=usage(10)))) == ()

    spans[0].end()

    assert sink.calls == []
    assert uncounted["execution_ended"] == before + 1
    assert "ended after its task" in caplog.text


def test_spans_that_never_end_are_given_up(
    tracer: trace.Tracer, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "MOST_OPEN_SPANS", 3)
    before = uncounted["too_many_open_spans"]

    def body() -> None:
        spans = [tracer.start_span("chat", attributes=usage(number)) for number in range(5)]
        for span in spans:
            span.end()

    assert inputs(calls_of(sink, body)) == [2, 3, 4]
    assert uncounted["too_many_open_spans"] == before + 2


@pytest.mark.parametrize("is_recorded_first", [False, True])
def test_each_side_adds_what_only_it_knows(is_recorded_first: bool, tracer: trace.Tracer, sink: RecordingSink) -> None:
    def record() -> None:
        record_usage(model="mine", total_tokens=11, cost_usd="0.5")
        record_usage(model="mine too", input_tokens=20, output_tokens=1)

    def span() -> None:
        for number in (10, 20):
            details = {"gen_ai.usage.cache_read.input_tokens": 5, "gen_ai.provider.name": "openai"}
            tracer.start_span("chat", attributes=usage(number) | details).end()

    def body() -> None:
        for tell in (record, span) if is_recorded_first else (span, record):
            tell()

    first, second = calls_of(sink, body)

    assert (first.model, str(first.cost_usd), first.provider) == ("mine", "0.5", "openai")
    assert first.usage == Usage(input_tokens=10, output_tokens=1, cache_read_input_tokens=5)
    assert (second.model, second.provider) == ("mine too", "openai")
    assert second.usage == Usage(input_tokens=20, output_tokens=1, cache_read_input_tokens=5)
    assert second.latency_us is not None


def test_two_equal_calls_of_which_one_is_recorded(tracer: trace.Tracer, sink: RecordingSink) -> None:
    """Each recorded call answers for one span."""

    def body() -> None:
        with spanning(tracer, "chat", usage(10)):
            pass
        record_usage(input_tokens=10, output_tokens=1)
        with spanning(tracer, "chat", usage(10)):
            pass
        record_usage(input_tokens=99, output_tokens=1)

    assert inputs(calls_of(sink, body)) == [10, 10, 99]


@pytest.mark.parametrize("is_recorded_first", [False, True])
def test_the_id_decides_where_both_have_one(is_recorded_first: bool, tracer: trace.Tracer, sink: RecordingSink) -> None:
    def record(response_id: str) -> None:
        record_usage({"id": response_id, "model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 1}})

    def span(response_id: str) -> None:
        tracer.start_span("chat", attributes=usage(10) | {"gen_ai.response.id": response_id}).end()

    def body() -> None:
        for tell in (record, span) if is_recorded_first else (span, record):
            tell("same")
        record("one")
        span("other")

    assert inputs(calls_of(sink, body)) == [10, 10, 10]


def test_many_calls_at_once_that_are_recorded_afterwards(tracer: trace.Tracer, sink: RecordingSink) -> None:
    def body() -> None:
        for number in range(300):
            with spanning(tracer, "chat", usage(number)):
                pass
        for number in range(300):
            record_usage(model="m", input_tokens=number, output_tokens=1)

    calls = calls_of(sink, body)

    assert inputs(calls) == list(range(300))
    assert {call.model for call in calls} == {"m"}


def test_a_response_that_comes_out_of_a_monitored_function(tracer: trace.Tracer, sink: RecordingSink) -> None:
    """Its span was counted there."""

    @monitor_task("job", "inner")
    def inner() -> str:
        with spanning(tracer, "chat", usage(10) | {"gen_ai.response.id": "r"}):
            return "r"

    def body() -> None:
        record_usage({"id": inner(), "usage": {"prompt_tokens": 10, "completion_tokens": 1}})

    assert calls_of(sink, body) == ()
    assert sink.tokens == 11


def test_a_fault_of_ours_stays_ours(tracer: trace.Tracer, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")

    def body() -> None:
        tracer.start_span("chat", attributes=usage(-1)).end()

    assert calls_of(sink, body) == ()


def test_there_is_nothing_to_flush(provider: TracerProvider) -> None:
    assert provider.force_flush()
    assert AureaSpanProcessor().force_flush() is True


def test_without_the_sdk_its_name_is_said() -> None:
    code = "import sys; sys.modules['opentelemetry.sdk'] = None; import aurea_celery.otel"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert "run: pip install 'aurea-celery[otel]'" in ended.stderr
