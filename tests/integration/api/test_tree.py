"""The tree of a job over HTTP: what it costs is what the job costs, and what is left out is said."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from aurea_celery.storage import tree
from tests.support import history
from tests.support.api import get, path_of
from tests.support.recorded import write


@pytest.fixture(autouse=True)
def _filled(database_url: str) -> None:
    write(database_url, *history.history(3, 60))


@pytest.mark.parametrize("job_id", history.JOBS)
def test_what_stands_at_the_top_adds_up_to_the_job(client: FlaskClient, job_id: str) -> None:
    job = get(client, path_of(job_id)).body
    found = get(client, f"{path_of(job_id)}/tree").body

    top = [node["inclusive"] for node in found["nodes"] if node["parent"] is None]
    assert sum(one["total_cost"] for one in top) == job["total_cost"] > 0
    assert sum(one["total_tokens"] for one in top) == job["total_tokens"]
    assert sum(one["unpriced_tokens"] for one in top) == job["unpriced_tokens"]
    assert sum(one["executions"] for one in top) == found["executions"] == job["total_tasks"]
    assert found["is_cut"] is False


def test_a_tree_that_is_too_large_is_cut_and_says_so(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = get(client, "/metrics/jobs/nightly/details?limit=1000").body["count"]
    monkeypatch.setattr(tree, "MOST_ROWS", rows)
    assert get(client, "/metrics/jobs/nightly/tree").body["is_cut"] is False
    monkeypatch.setattr(tree, "MOST_ROWS", rows - 1)
    assert get(client, "/metrics/jobs/nightly/tree").body["is_cut"] is True


def test_of_an_unknown_job_there_is_none(client: FlaskClient) -> None:
    assert get(client, "/metrics/jobs/nobody/tree").status == 404
