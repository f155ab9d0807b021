"""An app whose executions go to a recording sink."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from aurea_celery.capture import registry
from aurea_celery.capture.selection import Selection
from aurea_celery.settings import Settings
from tests.support.sinks import RecordingSink


@pytest.fixture
def sink() -> Iterator[RecordingSink]:
    """Where monitored calls go during a test."""
    app, recording = Celery("unit", broker="memory://", set_as_current=False), RecordingSink()
    destination = registry.Destination(recording, Selection(Settings()))
    registry.install(app, lambda: destination)
    yield recording
    app.close()
