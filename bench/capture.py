"""Microseconds that capture adds to a task inside Celery's own tracer, beside opentelemetry-instrumentation-celery.

All three run in one forked child, as a prefork worker's child does, and take turns: Celery alone, with aurea-celery
(both handlers, outbox written to disk), with OpenTelemetry (a batch processor whose exporter does nothing).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from aurea_celery import Aurea, plugin
from aurea_celery.capture import jobs, requests, signals
from aurea_celery.clock import new_event_id, now_us
from bench.ratio import Pair, Spread

TASKS = 2_000


class NoExporter(SpanExporter):
    """Takes spans and does nothing with them: the least an exporter can cost."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans."""
        return SpanExportResult.SUCCESS


def nothing() -> None:
    """The body of the task."""


def trace_tasks(app: Celery) -> float:
    """Microseconds per task of :data:`TASKS` empty tasks through Celery's tracer."""
    task = app.tasks["bench.nothing"]
    tracer = build_tracer(task.name, task, app=app)
    messages = [_request() for _ in range(TASKS)]
    begun = time.perf_counter()
    for message in messages:
        tracer(message["id"], [], {}, message)
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


def with_aurea(app: Celery) -> float:
    """The same with our handlers connected."""
    signals.connect()
    try:
        return trace_tasks(app)
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


def measure(rounds: int) -> tuple[Pair, list[float]]:
    """Microseconds that each adds, round by round, and those of Celery alone."""
    app = Celery("bench", broker="memory://", set_as_current=False)
    app.task(name="bench.nothing")(nothing)
    with tempfile.TemporaryDirectory() as folder:
        Aurea(app, outbox_dir=folder)
        signals.disconnect()
        plugin.on_worker_init()
        return _in_child(lambda: _rounds(app, rounds))


def _rounds(app: Celery, rounds: int) -> tuple[Pair, list[float]]:
    plugin.on_worker_process_init()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(NoExporter()))
    pair, alone = Pair([], []), []
    for number in range(rounds + 1):
        turns: list[Callable[[], float]] = [
            lambda: trace_tasks(app),
            lambda: with_aurea(app),
            lambda: with_opentelemetry(app, provider),
        ]
        first = number % len(turns)
        figures = {turn: turn() for turn in turns[first:] + turns[:first]}
        bare, ours, reference = (figures[turn] for turn in turns)
        if number:  # the first round warms up
            alone.append(bare)
            pair.ours.append(ours - bare)
            pair.reference.append(reference - bare)
    provider.shutdown()
    return pair, alone


def _in_child(work: Callable[[], tuple[Pair, list[float]]]) -> tuple[Pair, list[float]]:
    """Run in a forked child, as Celery's pool does, and bring the figures back."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        with os.fdopen(writing, "w") as answer:
            json.dump(work(), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        (ours, reference), alone = json.load(answer)
    os.waitpid(pid, 0)
    return Pair(ours, reference), alone


def main(rounds: int = 20) -> str:
    """Measure and describe, in one line."""
    pair, alone = measure(rounds)
    ours, reference = pair.map(lambda figure: figure)
    return (
        f"capture adds {ours.text('.1f')} us to a task, OpenTelemetry {reference.text('.1f')} us, "
        f"Celery's tracer alone takes {Spread.of(alone).text('.1f')} us; "
        f"aurea / OpenTelemetry = {pair.ratio().text('.2f')} (aim: at most 0.30)"
    )


if __name__ == "__main__":
    print(main())
