"""The page on usage: its examples run, and its table names what is tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, _state
from celery.signals import worker_process_init, worker_ready
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.util._once import Once

from aurea_celery import Usage, monitor_task
from tests.support import golden
from tests.support.model_server import ModelServer
from tests.support.sinks import RecordingSink

PAGE = (Path(__file__).parents[3] / "docs" / "usage.md").read_text()


@pytest.fixture
def page(models: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the page's examples define, all run one after the other, with a provider's server in its place."""
    monkeypatch.setenv("OPENAI_API_KEY", "no-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{models.url}/v1")
    # The example's app is the current one and shares its tasks with all others, as an app does by default.
    monkeypatch.setattr(_state, "_tls", SimpleNamespace(current_app=None))
    monkeypatch.setattr(_state, "_on_app_finalizers", set())
    for signal in (worker_process_init, worker_ready):
        monkeypatch.setattr(signal, "receivers", list(signal.receivers))
    names: dict[str, Any] = {"__name__": "page"}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(example, names)  # noqa: S102 - that is the test
    yield names
    names["client"].close()
    app: Celery = names["app"]
    app.close()


def test_a_call(page: dict[str, Any], sink: RecordingSink) -> None:
    assert monitor_task("job", "task")(page["summarise"].run)("text") == "Hello"

    (call,) = sink.last.calls
    assert call.usage == golden.expected("openai/chat/cached").usage


def test_counts(page: dict[str, Any], sink: RecordingSink) -> None:
    assert monitor_task("job", "task")(page["ask_house"].run)("question") == "42"

    (call,) = sink.last.calls
    assert call.usage == Usage(input_tokens=1200, cache_read_input_tokens=1000, output_tokens=80)


def test_every_count_is_named() -> None:
    for name in Usage.__struct_fields__:
        assert f"`{name}`" in PAGE


def test_a_stream(page: dict[str, Any], sink: RecordingSink) -> None:
    assert monitor_task("job", "task")(page["tell"].run)("topic") == "Hello"

    (call,) = sink.last.calls
    assert call.usage == golden.expected("openai/chat/stream").usage


def test_opentelemetry(page: dict[str, Any], sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded by hand too, so that it must count once."""
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER_SET_ONCE", Once())
    page["set_up_tracing"]()
    try:
        test_a_call(page, sink)
        assert sink.last.calls[0].provider == "openai", "its span says so"
    finally:
        OpenAIInstrumentor().uninstrument()


def test_the_table_names_every_provider_of_the_golden_set() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.split("## What is recognised")[1].split("##")[0]))
    assert {name.split("/")[0] for name in golden.names()} <= named
