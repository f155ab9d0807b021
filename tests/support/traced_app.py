"""A user's app that records nothing itself: OpenTelemetry's spans tell of its model calls."""

from __future__ import annotations

import os

from celery import Celery
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from aurea_celery import Aurea
from aurea_celery.otel import AureaSpanProcessor, set_up_in_workers

app = Celery("traced_app", broker=os.environ["BROKER_URL"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
Aurea(app)


@set_up_in_workers
def set_up_tracing() -> None:
    """Set up OpenTelemetry as usage.md does."""
    with open(os.environ["TRUTH"], "a") as file:  # noqa: PTH123 - whole lines, also from several processes
        file.write(f"{os.getpid()} set-up 0\n")
    provider = TracerProvider()
    provider.add_span_processor(AureaSpanProcessor())
    trace.set_tracer_provider(provider)


@app.task
def ask() -> None:
    """Call a model, which only a span tells of."""
    with trace.get_tracer("tests").start_as_current_span("chat gpt-4o") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.request.model", "gpt-4o")
        span.set_attribute("gen_ai.usage.input_tokens", 90)
        span.set_attribute("gen_ai.usage.output_tokens", 12)
