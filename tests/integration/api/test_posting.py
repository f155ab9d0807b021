"""What is posted is written once, however often, by however many, and a batch whole or not at all."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_api import create_app
from aurea_celery.clock import new_event_id
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.write import Writer
from tests.integration.api.test_database import away
from tests.support.api import METRIC, Answer, get, post, read_json
from tests.support.databases import connected, scalar
from tests.support.recorded import execution, write

pytestmark = pytest.mark.clock("47-days")

FULL: dict[str, Any] = {
    "job_id": "job_123",
    "task_name": "text_generation",
    "model_used": "gpt-4o",
    "latency_ms": 1250,
    "event_id": "01A20B85-6D38-70EE-8E3C-09E6E04E2290",
    "created_at": "2026-11-24T10:15:02.352925+01:00",
    "status": "failure",
    "error_type": "TimeoutError",
    "provider_name": "openai",
    "service_tier": "default",
    "input_tokens": 400,
    "output_tokens": 100,
    "cache_read_input_tokens": 300,
    "cache_write_input_tokens": 0,
    "cache_write_1h_input_tokens": 0,
    "reasoning_output_tokens": 50,
    "input_audio_tokens": 0,
    "output_audio_tokens": 0,
    "tags": {"team": "search", "": "\u00fc"},
}
BOOKS = "SELECT (sum(captured), sum(written), sum(duplicates), sum(captured - written))::text FROM metrics_sources"
ROWS = "SELECT count(*) FROM metrics"


def batch(client: FlaskClient, *items: Any, key: str | None = None) -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/metrics/batch", json={"metrics": list(items)}, headers=headers)
    return Answer(answer.status_code, read_json(answer.data), dict(answer.headers))


def keyed(client: FlaskClient, key: str, body: dict[str, Any] = METRIC) -> Answer:
    answer = client.post("/metrics", json=body, headers={"Idempotency-Key": key})
    return Answer(answer.status_code, read_json(answer.data), dict(answer.headers))


def identified(**fields: Any) -> dict[str, Any]:
    return METRIC | {"event_id": new_event_id()} | fields


def test_every_field_is_in_its_column(client: FlaskClient) -> None:
    metric = post(client, FULL).body["metric"]

    assert {name: metric[name] for name in FULL} == FULL | {
        "event_id": FULL["event_id"].lower(),
        "created_at": "2026-11-24T09:15:02.352925Z",
    }
    assert metric["started_at"] == "2026-11-24T09:15:01.102925Z"
    assert metric["token_count"] == 500
    # 100 * 2.50 + 300 * 1.25 + 100 * 10 USD per million
    assert (metric["cost_status"], metric["cost_estimate"]) == ("priced", Decimal("0.001625"))


def test_a_batch_answers_metric_by_metric(client: FlaskClient) -> None:
    unknown = {name: value for name, value in METRIC.items() if name != "cost_estimate"} | {"model_used": "house-model"}

    answer = batch(client, METRIC, unknown, identified())

    assert (answer.status, answer.body["count"]) == (201, 3)
    lines = [
        {name: line[name] for name in ("cost_estimate", "cost_status", "unpriced_tokens")}
        for line in answer.body["metrics"]
    ]
    priced = {"cost_estimate": Decimal("0.015"), "cost_status": "priced", "unpriced_tokens": 0}
    assert lines == [priced, {"cost_estimate": 0, "cost_status": "unpriced", "unpriced_tokens": 500}, priced]
    details = get(client, "/metrics/jobs/job_123/details").body["metrics"]
    assert {row["event_id"] for row in details} == {line["event_id"] for line in answer.body["metrics"]}


def test_a_thousand_metrics_go_at_once(client: FlaskClient, database_url: str) -> None:
    answer = batch(client, *(METRIC | {"job_id": f"job_{n % 7}"} for n in range(1000)))

    assert (answer.status, len(answer.body["metrics"])) == (201, 1000)
    assert scalar(database_url, BOOKS) == "(1000,1000,0,0)"


def test_nothing_of_a_wrong_batch_is_written_and_it_can_be_sent_again(client: FlaskClient, database_url: str) -> None:
    good = identified()

    refused = batch(client, good, identified(token_count=-1))
    written = batch(client, good, identified(token_count=1))

    assert (refused.status, written.status) == (400, 201)
    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (2, "(2,2,0,0)")


def test_the_same_again_is_one_row_and_the_same_answer(client: FlaskClient, database_url: str) -> None:
    body = identified()

    for first, again in (
        (post(client, body), post(client, dict(reversed(body.items())))),
        (keyed(client, "order 17 \u00e9"), keyed(client, "order 17 \u00e9")),
        (batch(client, METRIC, METRIC, key="a"), batch(client, METRIC, METRIC, key="a")),
    ):
        assert (first.status, again.status, again.body) == (201, 201, first.body)
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"

    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (4, "(4,4,0,0)")


def test_something_else_with_the_same_id_is_refused(client: FlaskClient, database_url: str) -> None:
    body = identified()
    post(client, body)
    keyed(client, "a")
    batch(client, METRIC, key="a")

    refused = [
        post(client, body | {"token_count": 501}),
        post(client, body | {"created_at": "2026-11-24T10:15:02Z"}),
        batch(client, METRIC, body | {"token_count": 501}),
        keyed(client, "a", METRIC | {"token_count": 501}),
        batch(client, METRIC, METRIC, key="a"),
    ]

    assert [one.status for one in refused] == [422] * 5
    assert body["event_id"] in refused[0].body["error"]
    assert "Idempotency-Key" in refused[3].body["error"]
    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (3, "(3,3,0,0)")


def test_a_batch_may_hold_what_was_posted_before_and_the_same_twice(client: FlaskClient, database_url: str) -> None:
    old, new = identified(), identified()
    before = batch(client, old)

    answer = batch(client, new, old, new)

    assert answer.status == 201
    assert answer.body["metrics"][1] == before.body["metrics"][0]
    assert answer.body["metrics"][0] == answer.body["metrics"][2]
    assert "Idempotent-Replayed" not in answer.headers
    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (2, "(2,2,0,0)")


def test_a_key_is_free_again_when_nothing_was_written(
    client: FlaskClient, database_url: str, postgres_url: str
) -> None:
    with away(database_url, postgres_url):
        assert keyed(client, "a").status == 503

    assert keyed(client, "a", METRIC | {"token_count": 1}).status == 201


def test_an_answer_that_was_lost_costs_nothing(
    client: FlaskClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = Writer._transact

    def commit_and_lose_the_connection(*arguments: Any) -> None:
        transact(*arguments)
        raise DatabaseUnavailable("the connection is lost")

    with monkeypatch.context() as lost:
        lost.setattr(Writer, "_transact", commit_and_lose_the_connection)
        assert keyed(client, "a").status == 503
        assert post(client, METRIC).status == 503

    assert keyed(client, "a").status == 201
    assert keyed(client, "b").status == 201
    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (3, "(3,3,0,0)")


def test_an_event_that_the_plugin_wrote_is_not_written_again(client: FlaskClient, database_url: str) -> None:
    event = execution()
    write(database_url, event)
    row = get(client, "/metrics/jobs/job_123/details").body["metrics"][0]

    post(client, METRIC | {"event_id": event.event_id, "created_at": row["created_at"]})

    assert scalar(database_url, ROWS) == 1


def test_ids_are_forgotten_after_a_month(client: FlaskClient, database_url: str) -> None:
    batch(client, *(identified() for _ in range(10)))
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_posted SET posted_at = posted_at - interval '31 days'"))

    post(client, identified())

    assert scalar(database_url, "SELECT count(*) FROM metrics_posted") == 1


def test_a_replay_of_what_is_not_kept_any_more_says_so(client: FlaskClient, database_url: str) -> None:
    keyed(client, "a")
    with connected(database_url) as connection:
        connection.execute(sa.text("DELETE FROM metrics"))

    assert keyed(client, "a").status == 410


@pytest.fixture
def clients(database_url: str) -> list[FlaskClient]:
    """Clients of several apps, as of several processes: each with connections of its own."""
    return [create_app(database_url).test_client() for _ in range(3)]


NUMBERS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(NUMBERS, min_size=6, max_size=12))
def test_whoever_posts_the_same_at_the_same_time_gets_the_same(
    clients: list[FlaskClient], database_url: str, requests: list[list[int]]
) -> None:
    job = uuid.uuid4().hex
    ids = [new_event_id() for _ in range(6)]
    ready = threading.Barrier(len(requests))

    def send(turn: int) -> Answer:
        ready.wait(30)
        items = [METRIC | {"job_id": job, "event_id": ids[number]} for number in requests[turn]]
        return batch(clients[turn % len(clients)].application.test_client(), *items)

    with ThreadPoolExecutor(len(requests)) as threads:
        answers = list(threads.map(send, range(len(requests))))

    assert {answer.status for answer in answers} == {201}
    lines = {(line["event_id"], line["created_at"]) for answer in answers for line in answer.body["metrics"]}
    posted = {number for numbers in requests for number in numbers}
    assert {event_id for event_id, _ in lines} == {ids[number] for number in posted}
    assert len(lines) == len(posted)
    summary = get(clients[0], f"/metrics/jobs/{job}").body
    assert (summary["total_tasks"], summary["total_tokens"]) == (len(posted), 500 * len(posted))
    with connected(database_url) as connection:
        assert rollup_differences(connection) == {}
    assert str(scalar(database_url, BOOKS)).endswith(",0,0)")


def test_batches_with_the_same_ids_do_not_wait_in_a_circle(clients: list[FlaskClient], database_url: str) -> None:
    ready = threading.Barrier(2)
    rounds = [[identified() for _ in range(1000)] for _ in range(3)]

    def send(turn: int) -> list[int]:
        statuses = []
        for items in rounds:
            ready.wait(60)
            statuses.append(batch(clients[turn], *(items if turn else reversed(items))).status)
        return statuses

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(send, range(2))) == [[201] * 3] * 2
    assert (scalar(database_url, ROWS), scalar(database_url, BOOKS)) == (3000, "(3000,3000,0,0)")
