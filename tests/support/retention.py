"""Rows of the past, and time for retention to look at them from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from aurea_celery.clock import to_us
from aurea_celery.events import TaskEvent
from aurea_celery.storage.queries import rollup_differences
from tests.support.clock import stop_clock
from tests.support.databases import connected
from tests.support.events import make_event

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)  # a Wednesday
CUT = timedelta(days=30)
FIRST_KEPT = datetime(2026, 8, 31, tzinfo=UTC)
"""The Monday of the week that the cut falls into, which is that before September's first day."""


def set_now(monkeypatch: pytest.MonkeyPatch, now: datetime = NOW) -> None:
    """Let retention take a time for now."""
    stop_clock(monkeypatch, now)


def ended(days_ago: float, job_id: str = "job", **fields: Any) -> TaskEvent:
    """An execution that ended so long before :data:`NOW`."""
    ended_at_us = to_us(NOW - timedelta(days=days_ago))
    return make_event(job_id=job_id, started_at_us=ended_at_us - 1_500, ended_at_us=ended_at_us, **fields)


def check_sums(url: str) -> None:
    """Every rollup says what the rows there are and what was dropped say."""
    with connected(url) as connection:
        assert rollup_differences(connection) == {}


def all_sums(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rollups, as they are."""
    with connected(url) as connection:
        return {
            table: sorted(tuple(row) for row in connection.execute(sa.text(f"TABLE {table}")))
            for table in ("metrics_job", "metrics_jobs", "metrics_15m", "metrics_latency_15m", "budget_spend")
        }
