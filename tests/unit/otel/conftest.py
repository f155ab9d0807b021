"""A tracer provider with nothing but our processor, and an instrumented SDK."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from aurea_celery.otel import AureaSpanProcessor
from tests.support.model_calls import KEY
from tests.support.model_server import ModelServer
from tests.unit.usage.conftest import models, sink

__all__ = ["models", "sink"]


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
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor  # not beside the lowest OpenTelemetry

    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    with openai.OpenAI(api_key=KEY, base_url=f"{models.url}/v1", max_retries=0) as made:
        yield made
    instrumentor.uninstrument()
