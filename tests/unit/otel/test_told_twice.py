"""A response that its span and the host tell of."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from aurea_celery import monitor_task, record_usage
from aurea_celery.events import Usage
from tests.support.model_calls import calls_of
from tests.support.sinks import RecordingSink
from tests.support.spans import inputs, spanning, usage


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


def test_one_span_answers_for_one_recorded_call(tracer: trace.Tracer, sink: RecordingSink) -> None:
    def body() -> None:
        with spanning(tracer, "chat", usage(10)):
            pass
        record_usage(input_tokens=10, output_tokens=1)
        record_usage(input_tokens=10, output_tokens=1)

    assert inputs(calls_of(sink, body)) == [10, 10]


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
