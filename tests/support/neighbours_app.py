"""A user's app with everybody else who listens to Celery's signals, and the plugin on it more than once."""

from __future__ import annotations

import logging
import os
from typing import Any

import sentry_sdk
from celery import Celery, Task
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from sentry_sdk.integrations.celery import CeleryIntegration

from aurea_celery import Aurea, record_usage

NOWHERE = "http://key@127.0.0.1:9/1"

sentry_sdk.init(dsn=NOWHERE, integrations=[CeleryIntegration(propagate_traces=True)], traces_sample_rate=1.0)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=open(os.devnull, "w"))))  # noqa: PTH123, SIM115 - for as long as the process lives
instrumentor: Any = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no type hints
instrumentor.instrument(tracer_provider=provider)

logging.getLogger().addHandler(logging.StreamHandler())

app = Celery("neighbours", broker=os.environ["BROKER_URL"])
app.conf.update(worker_hijack_root_logger=True, broker_connection_retry_on_startup=True)
Aurea(app)
Aurea(app)
Aurea().init_app(app)


@app.task(bind=True, max_retries=2)
def retry(self: Task[Any, Any]) -> None:
    """Ask for another try, twice, then send another task."""
    record_usage(model="gpt-4", total_tokens=7)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    fail.delay()


@app.task
def fail() -> None:
    """Raise."""
    record_usage(model="gpt-4", total_tokens=7)
    raise KeyError("not to be stored")
