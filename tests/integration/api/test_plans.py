"""No call reads all of `metrics`: each has an index, or the sums, to answer from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.storage.database import create_engine
from bench import filled
from tests.support.api import get
from tests.support.databases import Databases, connected

pytestmark = pytest.mark.clock("400-days")

ROWS = 3_000
UNTIL = datetime(2026, 11, 24, tzinfo=UTC)
READS_ALL = re.compile(r"Seq Scan on (metrics_p\w+|metrics_default)")
WEEK = "since=2026-11-10T00:00:00Z&until=2026-11-17T00:00:00Z"

PATHS = [
    "/health",
    "/metrics/jobs",
    "/metrics/jobs?sort=cost",
    "/metrics/jobs?sort=tasks",
    "/metrics/jobs?prefix=job-1",
    f"/metrics/jobs?{WEEK}",
    "/metrics/jobs/job-7",
    "/metrics/jobs/job-7/details",
    "/metrics/jobs/job-7/tree",
    "/metrics/summary",
    f"/metrics/summary?{WEEK}&provider=provider-1&model=model-1&status=success",
    f"/metrics/summary?{WEEK}&job=job-7",
    "/metrics/summary?job=job-7",
    "/metrics/summary?tag=team:team-1",
    f"/metrics/tasks?{WEEK}",
    f"/metrics/models?{WEEK}",
    f"/metrics/timeseries?measure=cost&by=provider&{WEEK}",
    f"/metrics/timeseries?measure=latency_p95&by=model&{WEEK}",
    f"/metrics/timeseries?measure=cost&by=task&{WEEK}&job=job-7",
]


@pytest.fixture(scope="module")
def filled_url(databases: Databases) -> Iterator[str]:
    with databases.migrated() as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            filled.fill(connection, ROWS, UNTIL)
        engine.dispose()
        yield url


@pytest.fixture
def client(filled_url: str) -> FlaskClient:
    return create_app(filled_url).test_client()


@pytest.mark.parametrize("path", PATHS)
def test_a_call_has_an_index_for_every_row_it_reads(client: FlaskClient, filled_url: str, path: str) -> None:
    """With sequential scans discouraged, one that is left has no other way."""
    plans = [
        plan for statement, parameters in asked_by(client, path) for plan in explain(filled_url, statement, parameters)
    ]
    assert len(plans) > 1
    assert not [line for line in plans if READS_ALL.search(line)]


@pytest.mark.parametrize("sort", ["last_updated", "cost", "tasks"])
def test_a_page_of_jobs_is_read_from_its_index(client: FlaskClient, filled_url: str, sort: str) -> None:
    """The first one and the one after a cursor: backwards from its place, and nothing is sorted."""
    cursor = get(client, f"/metrics/jobs?sort={sort}&limit=5").body["next_cursor"]
    for path in (f"/metrics/jobs?sort={sort}&limit=5", f"/metrics/jobs?sort={sort}&limit=5&cursor={cursor}"):
        ((statement, parameters),) = [one for one in asked_by(client, path) if "FROM metrics_jobs" in one[0]]

        plan = explain(filled_url, statement, parameters)

        assert any("Index Scan Backward" in line for line in plan), plan
        assert not [line for line in plan if "Sort" in line], plan


def test_a_scan_of_everything_would_be_seen(filled_url: str) -> None:
    plan = explain(filled_url, "SELECT sum(cost_estimate) FROM metrics WHERE queue = 'celery'", {})

    assert any(READS_ALL.search(line) for line in plan)


def asked_by(client: FlaskClient, path: str) -> list[tuple[str, Any]]:
    """The statements that a call really runs, with their parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert get(client, path).status == 200
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return asked


def explain(url: str, statement: str, parameters: Any) -> list[str]:
    if not statement.startswith(("SELECT", "WITH")):
        return []
    with connected(url) as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        return [line for (line,) in cursor.fetchall()]
