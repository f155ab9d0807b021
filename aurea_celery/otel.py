"""Usage from OpenTelemetry: nothing in a task's code, if its SDK is instrumented already.

Give :class:`AureaSpanProcessor` to the tracer provider, and each span that tells of a model call is counted for the
task or monitored function that it started in. In workers :func:`set_up_in_workers` runs what sets up OpenTelemetry::

    @set_up_in_workers
    def set_up_tracing():
        provider = TracerProvider()
        provider.add_span_processor(AureaSpanProcessor())
        trace.set_tracer_provider(provider)

Needs ``pip install 'aurea-celery[otel]'``; nothing else of this package imports OpenTelemetry.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from celery import signals
from celery.concurrency.prefork import TaskPool as PreforkPool

try:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
except ImportError as error:
    raise ImportError("aurea_celery.otel needs the OpenTelemetry SDK; run: pip install 'aurea-celery[otel]'") from error

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.calls import count_call, expect_spans
from aurea_celery.capture.context import Execution, current_execution
from aurea_celery.events import ModelCall
from aurea_celery.usage import SpanReading, read_span

MOST_OPEN_SPANS = 10_000
MOST_NESTED_SPANS = 64
NS_PER_US = 1000

Key = tuple[int, int]
F = TypeVar("F", bound=Callable[[], object])


@dataclass(slots=True, eq=False)
class _OpenSpan:
    """A span that started in an execution; ``is_told`` once a span below it told of its usage."""

    execution: Execution
    parent: _OpenSpan | None
    is_tool: bool
    depth: int
    is_told: bool = False
    is_counted: bool = False


def set_up_in_workers(set_up: F) -> F:
    """Call a function once in each process that runs a worker's tasks, whatever the worker's pool; a decorator.

    Celery sends ``worker_process_init`` in the pools ``prefork`` and ``solo`` only. In the others tasks run in the
    worker's main process, which calls the function before its first task. A process that runs no worker does not.

    Args:
        set_up: Takes no arguments. What it raises is logged by Celery, and the worker goes on.
    """
    done_in: set[int] = set()

    def run_once(**_: Any) -> None:
        if os.getpid() not in done_in:
            done_in.add(os.getpid())
            set_up()

    def run_where_tasks_are(sender: Any = None, **_: Any) -> None:
        if not isinstance(getattr(sender, "pool", None), PreforkPool):
            run_once()

    signals.worker_process_init.connect(run_once, weak=False)
    signals.worker_ready.connect(run_where_tasks_are, weak=False)
    return set_up


class AureaSpanProcessor(SpanProcessor):
    """Counts the model calls that spans tell of; thread-safe, never blocks, never raises into the host.

    A call belongs to the execution in which its span started, wherever the span ends; if it ends after that one, it is
    an execution of its own. Spans that are never ended are given up, ``given_up_count`` of them so far. Of spans within
    each other that tell of the same tokens, such as an agent's around its model calls, the one that ends first counts;
    what a tool spends inside is its own. Of a span's attributes only numbers and names are read, never a prompt.

    A span that is not sampled is never seen, so that its tokens are not counted. The tracer provider must call its
    processors where a span starts, as it does unless it was made with a ``ConcurrentMultiSpanProcessor``.

    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> provider = TracerProvider(shutdown_on_exit=False)
    >>> provider.add_span_processor(AureaSpanProcessor())
    """

    def __init__(self) -> None:
        self._open: OrderedDict[Key, _OpenSpan] = OrderedDict()
        self.given_up_count = 0
        expect_spans()

    @guarded
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Called where a span starts, by the OpenTelemetry SDK; remembers the execution."""
        around = span.parent
        parent = None if around is None else self._open.get((around.trace_id, around.span_id))
        # A thread may have been handed OpenTelemetry's context and not ours: its parent knows.
        execution = current_execution() or (parent.execution if parent else None)
        if execution is None:
            return
        is_tool = (span.attributes or {}).get("gen_ai.operation.name") == "execute_tool"
        # Spans that start in the last one's lifetime, each in turn, would keep all before them for ever.
        depth = parent.depth + 1 if parent and parent.depth < MOST_NESTED_SPANS else 0
        self._open[_key(span)] = _OpenSpan(execution, parent if depth else None, is_tool, depth)
        if len(self._open) > MOST_OPEN_SPANS:
            self._forget_oldest()

    @guarded
    def on_end(self, span: ReadableSpan) -> None:
        """Called where a span ends, by the OpenTelemetry SDK; counts the call if the span tells of one."""
        opened = self._open.pop(_key(span), None)
        reading = read_span(span.attributes or {}) if opened else None
        if opened is None or reading is None:
            return
        around = _repeating(opened)
        for one in around:
            one.is_told = True
        if opened.is_told or any(one.is_counted for one in around):
            return
        opened.is_counted = True
        count_call(opened.execution, _call_of(span, reading), response_id=reading.response_id, by_span=True)

    def shutdown(self) -> None:
        """Called when the tracer provider ends; spans that are still open are not counted."""
        self._open.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Called when the host wants everything sent: nothing waits here, which older SDKs want to be told."""
        return True

    def _forget_oldest(self) -> None:
        """Give up a span that has been open for longest, as one that its host forgot to end."""
        self._open.popitem(last=False)
        self.given_up_count += 1
        log_once_a_minute(
            "too_many_open_spans",
            logging.WARNING,
            "aurea-celery: more than %d spans are open, so the oldest is not counted when it ends (%d so far)",
            MOST_OPEN_SPANS,
            self.given_up_count,
        )


def _repeating(span: _OpenSpan) -> list[_OpenSpan]:
    """The spans around one that may tell of its tokens again: all up to the next tool."""
    found = []
    around = span.parent
    while around is not None and not around.is_tool:
        found.append(around)
        around = around.parent
    return found


def _call_of(span: ReadableSpan, reading: SpanReading) -> ModelCall:
    return ModelCall(
        usage=reading.usage,
        provider=reading.provider,
        model=reading.response_model or reading.request_model,
        response_model=reading.response_model,
        service_tier=reading.service_tier,
        latency_us=_duration_us(span),
        time_to_first_token_us=reading.time_to_first_token_us,
    )


def _duration_us(span: ReadableSpan) -> int | None:
    if span.start_time is None or span.end_time is None or span.end_time < span.start_time:
        return None
    return (span.end_time - span.start_time) // NS_PER_US


def _key(span: ReadableSpan) -> Key:
    context = span.get_span_context()
    return (context.trace_id, context.span_id) if context else (0, 0)
