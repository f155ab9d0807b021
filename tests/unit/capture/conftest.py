"""An app whose executions go to a recording sink."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
from celery import Celery

from aurea_celery import _guard
from aurea_celery.capture import registry
from tests.support.sinks import RecordingSink


@pytest.fixture(autouse=True)
def _no_other_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is captured but what a test asks for, whatever other tests have imported."""
    monkeypatch.setattr(registry, "_sinks", weakref.WeakKeyDictionary())
    monkeypatch.setattr(_guard, "_last_logged", {})


@pytest.fixture
def sink() -> Iterator[RecordingSink]:
    """Where monitored calls go during a test."""
    app, recording = Celery("unit", broker="memory://", set_as_current=False), RecordingSink()
    registry.install(app, recording)
    yield recording
    app.close()
