"""Usage of a task's real SDK in the database: from its spans alone, and from its stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from celery import Celery
from celery.contrib.testing.worker import start_worker
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from aurea_celery import record_stream
from aurea_celery.otel import AureaSpanProcessor
from tests.integration.in_process.worker import Rows
from tests.support import golden
from tests.support.databases import connected
from tests.support.model_server import model_server

# Celery's Redis backend calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

HELLO: Any = [{"role": "user", "content": "Say hello."}]
COLUMNS = (
    "model_used, provider_name, calls, input_tokens, output_tokens, cache_read_input_tokens, "
    "reasoning_output_tokens, token_count"
)


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    """OpenAI's SDK and a server for it."""
    answers = {"completions#stream": "openai/chat/stream", "completions": "openai/chat/cached"}
    with (
        model_server({path: golden.answer(name) for path, name in answers.items()}) as server,
        openai.OpenAI(api_key="no-key", base_url=f"{server.url}/v1", max_retries=0) as made,
    ):
        yield made


@pytest.fixture
def instrumented() -> Iterator[None]:
    """OpenTelemetry as a host sets it up, with nothing of ours but the span processor."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AureaSpanProcessor())
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield
    instrumentor.uninstrument()
    provider.shutdown()


def stored(database_url: str) -> tuple[Any, ...]:
    """The one row of ``metrics``."""
    with connected(database_url) as connection:
        (row,) = connection.execute(sa.text(f"SELECT {COLUMNS} FROM metrics"))
    return tuple(row)


@pytest.mark.usefixtures("aurea", "instrumented")
def test_spans_alone(
    celery_app: Celery,
    client: openai.OpenAI,
    rows: Rows,
    database_url: str,
    celery_worker_parameters: dict[str, Any],
) -> None:
    @celery_app.task(name="ask", shared=False)
    def ask() -> str | None:
        list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
        return client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content

    with start_worker(celery_app, **celery_worker_parameters):
        assert ask.delay().get(timeout=10) == "Hello"
        rows.wait_for(1)

    assert stored(database_url) == ("gpt-4o-2024-08-06", "openai", 2, 4012, 600, 3840, 128, 4612)


@pytest.mark.usefixtures("aurea")
def test_a_stream(
    celery_app: Celery,
    client: openai.OpenAI,
    rows: Rows,
    database_url: str,
    celery_worker_parameters: dict[str, Any],
) -> None:
    @celery_app.task(name="ask", shared=False)
    def ask() -> str:
        options: Any = {"include_usage": True}
        stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=options)
        chunks = record_stream(stream, provider="openai")
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    with start_worker(celery_app, **celery_worker_parameters):
        assert ask.delay().get(timeout=10) == "Hello"
        rows.wait_for(1)

    assert stored(database_url) == ("gpt-4o-2024-08-06", "openai", 1, 2006, 300, 1920, 64, 2306)
