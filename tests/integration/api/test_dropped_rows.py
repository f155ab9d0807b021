"""What is answered once retention has dropped rows: what it was before, or that it is not known any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.events import ModelCall, Usage
from aurea_celery.storage import upkeep
from tests.support.api import get
from tests.support.databases import Databases
from tests.support.recorded import write
from tests.support.retention import CUT, FIRST_KEPT, NOW, ended, set_now

pytestmark = pytest.mark.clock("400-days")

EVER = "since=2026-08-01T00:00:00Z&until=2026-10-01T00:00:00Z"
KEPT = f"since={quote(FIRST_KEPT.isoformat())}&until={quote(NOW.isoformat())}"
CALLS = (ModelCall(usage=Usage(input_tokens=1_000, output_tokens=10), model="gpt-4", provider="openai"),)

KNOWN = [
    "/metrics/summary",
    f"/metrics/summary?{EVER}&task=app.task&model=gpt-4&provider=openai&status=success",
    f"/metrics/tasks?{EVER}",
    f"/metrics/timeseries?measure=latency_p95&by=model&interval=1d&{EVER}",
    "/metrics/jobs",
    "/metrics/jobs/old",
    f"/metrics/summary?job=new&tag=team:search&{EVER}",
    f"/metrics/timeseries?measure=cost&job=new&by=provider&interval=1d&{EVER}",
    f"/metrics/summary?job=nobody&{EVER}",
    "/metrics/jobs/new/tree",
]
"""Those that sums answer, and those about what has all its rows."""

OLD = "/metrics/summary?job=old"

NOT_KNOWN = [
    "/metrics/summary?tag=team:search",
    f"/metrics/tasks?tag=team:search&{EVER}",
    f"/metrics/models?job=both&{EVER}",
    "/metrics/summary?job=old&provider=openai",
    f"/metrics/timeseries?measure=cost&job=both&interval=1d&{EVER}",
    f"/metrics/timeseries?measure=latency_p95&tag=team:search&by=task&interval=1d&{EVER}",
]


@pytest.fixture(scope="module")
def answers(databases: Databases) -> Iterator[tuple[dict[str, Any], FlaskClient]]:
    """All answers from before rows were dropped, and a client after it."""
    with databases.migrated() as url, pytest.MonkeyPatch.context() as patches:
        set_now(patches)
        days = {"old": (50, 55), "both": (33, 5), "new": (5, 3)}
        rows = [
            ended(day, job_id, calls=CALLS, tags={"team": "search"}) for job_id, past in days.items() for day in past
        ]
        write(url, *rows)
        upkeep.maintain(url)
        client = create_app(url).test_client()
        before = {path: get(client, path) for path in [*KNOWN, *NOT_KNOWN, OLD]}
        upkeep.prune(url, CUT)
        yield before, client


@pytest.mark.parametrize("path", KNOWN)
def test_what_sums_know_stays_what_it_was(answers: tuple[dict[str, Any], FlaskClient], path: str) -> None:
    before, client = answers

    now = get(client, path)

    assert now.status == 200
    assert now.body == before[path].body


@pytest.mark.parametrize("path", NOT_KNOWN)
def test_a_part_is_never_given_for_the_whole(answers: tuple[dict[str, Any], FlaskClient], path: str) -> None:
    before, client = answers

    assert before[path].status == 200
    assert get(client, path)[:2] == (
        410,
        {
            "error": "what these executions came to is not known from before 2026-08-31, because retention has dropped"
            " the rows; ask from that day on"
        },
    )


def test_the_description_says_so(client: FlaskClient) -> None:
    paths = get(client, "/openapi.json").body["paths"]

    assert {path for path, call in paths.items() if "410" in call.get("get", {}).get("responses", {})} == {
        f"/metrics/{name}" for name in ("summary", "tasks", "models", "timeseries")
    }


def test_the_period_before_is_left_out(answers: tuple[dict[str, Any], FlaskClient]) -> None:
    _, client = answers

    summary = get(client, f"/metrics/summary?tag=team:search&{KEPT}").body
    (task,) = get(client, f"/metrics/tasks?tag=team:search&{KEPT}").body["tasks"]

    assert summary["totals"]["total_tasks"] == 3
    assert (summary["previous"], summary["change"]) == (None, None)
    assert (task["totals"]["total_tasks"], task["previous"], task["change"]) == (3, None, None)


def test_of_a_job_without_all_its_rows_all_but_percentiles_is_known(
    answers: tuple[dict[str, Any], FlaskClient],
) -> None:
    before, client = answers

    was, now = before[OLD].body, get(client, OLD).body

    for name in ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms"):
        assert was["totals"].pop(name) > 0
        assert now["totals"].pop(name) is None
    assert now == was


@pytest.mark.parametrize(("job_id", "nodes", "is_cut"), [("old", 0, True), ("both", 1, True), ("new", 2, False)])
def test_a_tree_says_what_it_lacks(
    answers: tuple[dict[str, Any], FlaskClient], job_id: str, nodes: int, *, is_cut: bool
) -> None:
    _, client = answers

    status, tree, _ = get(client, f"/metrics/jobs/{job_id}/tree")

    assert (status, len(tree["nodes"]), tree["executions"], tree["is_cut"]) == (200, nodes, nodes, is_cut)
