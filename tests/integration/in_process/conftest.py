"""An app and its worker inside the test's own process, from Celery's fixtures, on the embedded servers.

The worker also consumes the writer's queue, so that a task's row is in the database milliseconds after it ran. Such a
worker is a thread with the solo pool: it cannot show children, time limits and kills, which tests with real worker
processes do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.pytest import celery_worker  # pytest-celery's fixture of this name is a container

from aurea_celery import Aurea
from tests.support.in_process import InProcess

__all__ = ["celery_worker"]


@pytest.fixture
def celery_config(broker_url: str, database_url: str, tmp_path: Path) -> dict[str, Any]:
    """Configuration of the app; ours is in it too, so that no environment has a say."""
    return {
        "broker_url": broker_url,
        "result_backend": broker_url,
        "aurea_database_url": database_url,
        "aurea_outbox_dir": str(tmp_path / "outbox"),
        "aurea_flush_interval_seconds": 0.05,
    }
