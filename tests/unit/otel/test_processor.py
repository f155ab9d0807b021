"""``AureaSpanProcessor`` with spans of our own."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from aurea_celery import otel
from aurea_celery.otel import AureaSpanProcessor
from tests.support.model_calls import calls_of
from tests.support.sinks import RecordingSink
from tests.support.spans import inputs, spanning, usage


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


def test_a_span_that_ends_after_its_execution_is_one_of_its_own(tracer: trace.Tracer, sink: RecordingSink) -> None:
    spans: list[trace.Span] = []
    assert calls_of(sink, lambda: spans.append(tracer.start_span("chat", attributes=usage(10)))) == ()

    spans[0].end()

    assert [event.task_name for event in sink.finished] == ["task", "task (after its end)"]
    assert inputs(sink.last.calls) == [10]
    assert sink.last.job_id == "job"


def test_spans_that_follow_each_other_without_end_are_not_kept(tracer: trace.Tracer, sink: RecordingSink) -> None:
    """Each starts inside the one before, which then ends."""

    def body() -> None:
        before = tracer.start_span("step")
        for _ in range(otel.MOST_NESTED_SPANS * 3):
            span = tracer.start_span("step", context=trace.set_span_in_context(before))
            before.end()
            before = span
        kept = sum(type(one) is otel._OpenSpan for one in gc.get_objects())
        assert kept <= otel.MOST_NESTED_SPANS + 1
        before.end()

    calls_of(sink, body)


def test_spans_that_never_end_are_given_up(sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "MOST_OPEN_SPANS", 3)
    provider, processor = TracerProvider(shutdown_on_exit=False), AureaSpanProcessor()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")

    def body() -> None:
        spans = [tracer.start_span("chat", attributes=usage(number)) for number in range(5)]
        for span in spans:
            span.end()

    assert inputs(calls_of(sink, body)) == [2, 3, 4]
    assert processor.given_up_count == 2


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
