"""Every call of the API, on rows as the writer writes them."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aurea_celery.clock import new_event_id
from aurea_celery.storage.schema import metrics
from tests.support.api import METRIC, get, path_of, post
from tests.support.databases import scalar
from tests.support.recorded import execution, model_call, write

pytestmark = pytest.mark.clock("47-days")

MONDAY_US = 1_764_547_200_000_000  # 2025-12-01T00:00:00Z
NOTHING_SPENT = {"count": 0, "total_tokens": 0, "unpriced_tokens": 0, "priced_share": None, "total_cost": 0}


@pytest.fixture
def documents_job(database_url: str) -> None:
    """The job of the document's example."""
    generation = [execution("job_123", "text_generation", model_call("gpt-4"), latency_ms=1200) for _ in range(5)]
    summarization = [execution("job_123", "summarization", model_call("gpt-4"), latency_ms=1300) for _ in range(2)]
    summarization += [execution("job_123", "summarization", model_call("claude-3-sonnet")) for _ in range(3)]
    write(database_url, *generation, *summarization)


def test_health(client: FlaskClient) -> None:
    answer = get(client, "/health")

    assert (answer.status, answer.body["status"]) == (200, "healthy")


@pytest.mark.usefixtures("documents_job")
def test_a_job_has_the_documents_shape(client: FlaskClient) -> None:
    status, body, _ = get(client, "/metrics/jobs/job_123")

    assert status == 200
    body.pop("first_updated")
    body.pop("last_updated")
    assert body == {
        "job_id": "job_123",
        "total_tasks": 10,
        "total_tokens": 5000,
        "input_tokens": 0,
        "output_tokens": 0,
        "unpriced_tokens": 0,
        "priced_share": 1,
        "total_latency_ms": 11600,
        "avg_latency_ms": 1160,
        "total_cost": Decimal("0.1095"),
        "avg_cost": Decimal("0.01095"),
        "waste": NOTHING_SPENT | {"by_status": {}, "by_task": {}},
        "redelivered": NOTHING_SPENT | {"by_task": {}},
        "task_breakdown": [
            {
                "task_name": "text_generation",
                "count": 5,
                "total_tokens": 2500,
                "unpriced_tokens": 0,
                "priced_share": 1,
                "total_latency_ms": 6000,
                "avg_latency_ms": 1200,
                "total_cost": Decimal("0.075"),
            },
            {
                "task_name": "summarization",
                "count": 5,
                "total_tokens": 2500,
                "unpriced_tokens": 0,
                "priced_share": 1,
                "total_latency_ms": 5600,
                "avg_latency_ms": 1120,
                "total_cost": Decimal("0.0345"),
            },
        ],
        "model_usage": [
            _usage("gpt-4", count=7, total_tokens=3500, total_cost="0.105"),
            _usage("claude-3-sonnet", count=3, total_tokens=1500, total_cost="0.0045"),
        ],
    }


def _usage(model: str, *, count: int, total_tokens: int, total_cost: str) -> dict[str, Any]:
    return {
        "model": model,
        "count": count,
        "total_tokens": total_tokens,
        "input_tokens": 0,
        "output_tokens": 0,
        "unpriced_tokens": 0,
        "priced_share": 1,
        "total_cost": Decimal(total_cost),
    }


def test_what_came_to_nothing_is_said(client: FlaskClient, database_url: str) -> None:
    attempts = [execution("job_123", "text_generation", model_call(tokens=1500)) for _ in range(3)]
    lost = execution("job_123", "summarization", model_call("house-model", 100))
    write(
        database_url,
        *(replace(event, status=status) for event, status in zip(attempts, ("retry", "retry", "success"), strict=True)),
        replace(lost, status="lost"),
        replace(lost, event_id=new_event_id(), redelivered=True),
    )

    body = get(client, "/metrics/jobs/job_123").body

    retried = _spent(count=2, total_tokens=3000, total_cost="0.09")
    unknown = _spent(count=1, total_tokens=100, unpriced_tokens=100, priced_share="0")
    wasted = _spent(count=3, total_tokens=3100, unpriced_tokens=100, priced_share="0.967741", total_cost="0.09")
    assert body["waste"] == wasted | {
        "by_status": {"retry": retried, "lost": unknown},
        "by_task": {"text_generation": retried, "summarization": unknown},
    }
    assert body["redelivered"] == unknown | {"by_task": {"summarization": unknown}}
    listed = get(client, "/metrics/jobs").body["jobs"][0]
    assert (listed["waste"], listed["redelivered"]) == (wasted, unknown)


def _spent(
    *, count: int, total_tokens: int, unpriced_tokens: int = 0, priced_share: str = "1", total_cost: str = "0"
) -> dict[str, Any]:
    return {
        "count": count,
        "total_tokens": total_tokens,
        "unpriced_tokens": unpriced_tokens,
        "priced_share": Decimal(priced_share),
        "total_cost": Decimal(total_cost),
    }


@pytest.mark.parametrize("path", ["/metrics/jobs/nobody", "/metrics/jobs/nobody/details", "/metrics/jobs/NOBODY%2F"])
def test_an_unknown_job_is_404(client: FlaskClient, path: str) -> None:
    answer = get(client, path)

    assert answer.status == 404
    assert answer.body["error"].startswith("nothing is known of this job")


def test_details_are_rows_newest_first_in_pages(client: FlaskClient, database_url: str) -> None:
    write(database_url, *(execution(ended_at_us=MONDAY_US + at) for at in (3, 1, 2)))

    whole = get(client, "/metrics/jobs/job_123/details").body
    page = get(client, "/metrics/jobs/job_123/details?limit=2&offset=1").body
    beyond = get(client, "/metrics/jobs/job_123/details?offset=3").body

    assert [row["created_at"] for row in whole["metrics"]] == [f"2025-12-01T00:00:00.00000{at}Z" for at in (3, 2, 1)]
    assert (whole["job_id"], whole["count"]) == ("job_123", 3)
    assert page == {"job_id": "job_123", "count": 2, "metrics": whole["metrics"][1:]}
    assert beyond == {"job_id": "job_123", "count": 0, "metrics": []}


def test_a_row_has_every_column_of_the_table(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution())

    (row,) = get(client, "/metrics/jobs/job_123/details").body["metrics"]

    assert set(row) == {column.name for column in metrics.c}
    assert isinstance(row["id"], int)
    assert datetime.fromisoformat(row["created_at"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize(("query", "count"), [("", 100), ("?limit=1000", 101), ("?limit=1", 1), ("?offset=100", 1)])
def test_a_page_has_100_rows_unless_said_otherwise(
    client: FlaskClient, database_url: str, query: str, count: int
) -> None:
    write(database_url, *(execution() for _ in range(101)), *(execution(f"other_{n}") for n in range(100)))

    assert get(client, f"/metrics/jobs/job_123/details{query}").body["count"] == count
    assert len(get(client, f"/metrics/jobs{query}").body["jobs"]) == count


def test_jobs_are_listed_most_recently_updated_first(client: FlaskClient, database_url: str) -> None:
    write(database_url, *(execution(name, ended_at_us=MONDAY_US + at) for at, name in enumerate("abcab")))

    answer = get(client, "/metrics/jobs")

    assert [job["job_id"] for job in answer.body["jobs"]] == ["b", "a", "c"]
    assert answer.body["jobs"][0] == {
        "job_id": "b",
        "task_count": 2,
        "total_tokens": 1000,
        "unpriced_tokens": 0,
        "priced_share": 1,
        "total_latency_ms": 2000,
        "total_cost": Decimal("0.03"),
        "first_updated": "2025-12-01T00:00:00.000001Z",
        "last_updated": "2025-12-01T00:00:00.000004Z",
        "waste": NOTHING_SPENT,
        "redelivered": NOTHING_SPENT,
    }


def test_no_jobs_are_an_empty_list(client: FlaskClient) -> None:
    assert get(client, "/metrics/jobs").body == {"jobs": [], "next_cursor": None}


def test_a_metric_is_there_as_soon_as_it_is_created(client: FlaskClient) -> None:
    status, body, _ = post(client, METRIC)

    assert status == 201
    assert body["message"]
    assert {name: body["metric"][name] for name in METRIC} == {**METRIC, "cost_estimate": Decimal("0.015")}
    assert get(client, "/metrics/jobs/job_123/details").body["metrics"] == [body["metric"]]
    assert get(client, "/metrics/jobs/job_123").body["total_cost"] == Decimal("0.015")
    assert get(client, "/metrics/jobs").body["jobs"][0]["job_id"] == "job_123"


@pytest.mark.parametrize(
    ("model", "status", "cost", "unpriced_tokens"),
    [("gpt-4", "priced", Decimal("0.015"), 0), ("house-model", "unpriced", 0, 500)],
)
def test_without_a_cost_a_metric_is_priced(
    client: FlaskClient, model: str, status: str, cost: Decimal, unpriced_tokens: int
) -> None:
    body = {name: value for name, value in METRIC.items() if name != "cost_estimate"} | {"model_used": model}

    metric = post(client, body).body["metric"]

    assert (metric["cost_status"], metric["cost_estimate"], metric["unpriced_tokens"]) == (
        status,
        cost,
        unpriced_tokens,
    )
    assert get(client, "/metrics/jobs/job_123").body["unpriced_tokens"] == unpriced_tokens


def test_a_cost_of_zero_is_a_price(client: FlaskClient) -> None:
    metric = post(client, METRIC | {"cost_estimate": 0, "model_used": "house-model"}).body["metric"]

    assert (metric["cost_status"], metric["cost_estimate"], metric["unpriced_tokens"]) == ("priced", 0, 0)


def test_latency_is_kept_to_the_microsecond(client: FlaskClient) -> None:
    body = json.dumps(METRIC).replace("1250.5", "1250.50051234")

    assert post(client, body).body["metric"]["latency_ms"] == Decimal("1250.501")


def test_nothing_is_written_for_a_refused_metric(client: FlaskClient, database_url: str) -> None:
    assert post(client, METRIC | {"token_count": -1}).status == 400

    assert scalar(database_url, "SELECT (SELECT count(*) FROM metrics) + (SELECT count(*) FROM metrics_sources)") == 0


def test_created_metrics_are_in_the_books(client: FlaskClient, database_url: str) -> None:
    for _ in range(3):
        post(client, METRIC)

    assert scalar(database_url, "SELECT array_agg((captured, written)::text) FROM metrics_sources") == ["(3,3)"]


ANY_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)
ODD_JOBS = ("a/details", "/", "..", "a//b", "details", "%2F", " ", "\r", "\n", "?", "#", "\\.")
ANY_USD = st.one_of(
    st.integers(0, 10**15).map(str),
    st.floats(0, 1e15).map(repr),
    st.decimals(0, 10**15, places=30).map(str),
)
ANY_METRIC = st.fixed_dictionaries(
    {
        "job_id": st.one_of(
            ANY_NAME, st.sampled_from(["a/details", "/", "..", "a//b", "details", "%2F", " ", "\n", "?"])
        ),
        "task_name": ANY_NAME,
        "model_used": ANY_NAME,
        "token_count": st.integers(0, 2**53 - 1),
        "latency_ms": st.decimals(0, 10**12, places=3),
        "cost_estimate": ANY_USD.map(Decimal),
    }
)


@pytest.fixture
def spent() -> dict[str, list[dict[str, Any]]]:
    """What was posted to each job over all examples of a property."""
    return defaultdict(list)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metric=ANY_METRIC)
def test_what_is_posted_is_what_is_read(
    client: FlaskClient, spent: dict[str, list[dict[str, Any]]], metric: dict[str, Any]
) -> None:
    created = post(client, _as_json(metric))
    posted = spent[metric["job_id"]]
    posted.append(metric)

    assert created.status == 201
    assert {name: created.body["metric"][name] for name in metric} == metric
    path = path_of(metric["job_id"])
    details, summary = get(client, f"{path}/details?limit=1").body, get(client, path).body
    assert details == {"job_id": metric["job_id"], "count": 1, "metrics": [created.body["metric"]]}
    assert summary["job_id"] == metric["job_id"]
    assert summary["total_tasks"] == len(posted)
    assert summary["total_tokens"] == sum(one["token_count"] for one in posted)
    assert Fraction(summary["total_latency_ms"]) == sum(Fraction(one["latency_ms"]) for one in posted)
    assert Fraction(summary["total_cost"]) == sum(Fraction(one["cost_estimate"]) for one in posted)


def _as_json(metric: dict[str, Any]) -> str:
    """The numbers as they are, with no float in between."""
    parts = (
        f"{json.dumps(name)}: {value if isinstance(value, Decimal) else json.dumps(value)}"
        for name, value in metric.items()
    )
    return "{" + ", ".join(parts) + "}"
