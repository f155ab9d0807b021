"""Microseconds that capture adds to a task inside Celery's own tracer, beside opentelemetry-instrumentation-celery.

All run in one forked child, as a prefork worker's child does, and take turns: Celery alone, with aurea-celery (both
handlers, outbox written to disk), with OpenTelemetry (a batch processor whose exporter does nothing); and with
aurea-celery tasks that record one model call and ten.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from celery import Celery
from celery.app.trace import build_tracer
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from aurea_celery import Aurea, plugin, record_usage
from aurea_celery.capture import jobs, requests, signals
from aurea_celery.clock import new_event_id, now_us
from bench.children import in_child
from bench.ratio import Pair, Spread

TASKS = 2_000


class NoExporter(SpanExporter):
    """Takes spans and does nothing with them: the least an exporter can cost."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans."""
        return SpanExportResult.SUCCESS


def nothing() -> None:
    """The body of an empty task."""


def record(count: int) -> None:
    """The body of a task that calls models."""
    for _ in range(count):
        record_usage(model="gpt-4", input_tokens=1_000, output_tokens=100)


def trace_tasks(app: Celery, name: str = "bench.nothing", *args: int) -> float:
    """Microseconds per task of :data:`TASKS` tasks through Celery's tracer."""
    task = app.tasks[name]
    tracer = build_tracer(task.name, task, app=app)
    messages = [_request() for _ in range(TASKS)]
    begun = time.perf_counter()
    for message in messages:
        tracer(message["id"], list(args), {}, message)
    return (time.perf_counter() - begun) / TASKS * 1e6


def _request() -> dict[str, Any]:
    task_id = new_event_id()
    return {
        "id": task_id,
        "root_id": task_id,
        "correlation_id": task_id,
        "hostname": "celery@host",
        "delivery_info": {"routing_key": "celery", "exchange": "", "redelivered": False},
        "retries": 0,
        "args": (),
        "kwargs": {},
        jobs.JOB_HEADER: "job",
        requests.PUBLISHED_HEADER: now_us(),
        requests.RECEIVED_KEY: (new_event_id(), now_us()),
    }


def with_aurea(app: Celery, name: str = "bench.nothing", *args: int) -> float:
    """The same with our handlers connected."""
    signals.connect()
    try:
        return trace_tasks(app, name, *args)
    finally:
        signals.disconnect()


def with_opentelemetry(app: Celery, provider: TracerProvider) -> float:
    """The same with OpenTelemetry's handlers connected."""
    instrumentor: Any = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no type hints
    instrumentor.instrument(tracer_provider=provider)
    try:
        return trace_tasks(app)
    finally:
        instrumentor.uninstrument()


class Figures(NamedTuple):
    """Microseconds per task, round by round: what each adds, Celery alone, whole tasks with ten calls and with one."""

    added: Pair
    alone: list[float]
    calls: Pair


def measure(rounds: int) -> Figures:
    """Microseconds per task."""
    app = Celery("bench", broker="memory://", set_as_current=False)
    app.task(name="bench.nothing")(nothing)
    app.task(name="bench.record")(record)
    with tempfile.TemporaryDirectory() as folder:
        Aurea(app, outbox_dir=folder)
        signals.disconnect()
        plugin.on_worker_init()
        added, alone, calls = in_child(lambda: _rounds(app, rounds))
    return Figures(Pair(*added), alone, Pair(*calls))


def _rounds(app: Celery, rounds: int) -> Figures:
    plugin.on_worker_process_init()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(NoExporter()))
    found = Figures(Pair([], []), [], Pair([], []))
    for number in range(rounds + 1):
        turns: list[Callable[[], float]] = [
            lambda: trace_tasks(app),
            lambda: with_aurea(app),
            lambda: with_opentelemetry(app, provider),
            lambda: with_aurea(app, "bench.record", 10),
            lambda: with_aurea(app, "bench.record", 1),
        ]
        first = number % len(turns)
        figures = {turn: turn() for turn in turns[first:] + turns[:first]}
        bare, ours, reference, ten, one = (figures[turn] for turn in turns)
        if number:  # the first round warms up
            found.alone.append(bare)
            found.added.ours.append(ours - bare)
            found.added.reference.append(reference - bare)
            found.calls.ours.append(ten)
            found.calls.reference.append(one)
    provider.shutdown()
    return found


def main(rounds: int = 20) -> str:
    """Measure and describe, in Markdown."""
    found = measure(rounds)
    ours, reference = found.added.map(lambda figure: figure)
    ten, one = found.calls.map(lambda figure: figure)
    return (
        f"capture adds {ours.text('.1f')} us to a task, OpenTelemetry {reference.text('.1f')} us, "
        f"Celery's tracer alone takes {Spread.of(found.alone).text('.1f')} us; "
        f"aurea / OpenTelemetry = {found.added.ratio().text('.2f')} (aim: at most 0.30)\n\n"
        f"a task that records ten model calls takes {ten.text('.1f')} us, one that records one {one.text('.1f')} us; "
        f"ten / one = {found.calls.ratio().text('.2f')} (aim: less than 2)"
    )


if __name__ == "__main__":
    print(main())
