"""``GET /health`` tells the truth: who writes, what is missing, and for how long, as far as it can be known."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from flask.testing import FlaskClient

from aurea_api import broker_queue, create_app, health
from aurea_celery.clock import now_us
from tests.support.api import METRIC, Answer, get, post
from tests.support.databases import connected
from tests.support.recorded import execution, make_old, source, write
from tests.support.servers import free_port

pytestmark = pytest.mark.clock("a-day")

PIPELINE = ("pipeline", "problem", "writer", "backlog", "queue_messages")
START_ONE = "start one: celery -A yourapp aurea writer"


def pipeline_of(answer: Answer) -> tuple[Any, ...]:
    assert (answer.status, answer.body["status"]) == (200, "healthy"), "what is there can be read all the same"
    return tuple(answer.body[name] for name in PIPELINE)


def seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)) / timedelta(seconds=1)


def test_nobody_has_ever_written(client: FlaskClient) -> None:
    answer = get(client, "/health")

    problem = f"Nobody is writing: no writer has ever written to this database; {START_ONE}"
    assert pipeline_of(answer) == ("degraded", problem, "silent", 0, None)
    assert (answer.body["last_write"], answer.body["oldest_event_seconds"]) == (None, None)


def test_what_comes_through_the_api_needs_no_writer(client: FlaskClient) -> None:
    post(client, METRIC)

    answer = get(client, "/health")

    assert pipeline_of(answer) == ("ok", None, "idle", 0, None)
    assert answer.body["last_write"] is None


def test_somebody_writes(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution(ended_at_us=now_us() - 3_000_000))

    answer = get(client, "/health")

    assert pipeline_of(answer) == ("ok", None, "writing", 0, None)
    assert 0 <= seconds_since(answer.body["last_write"]) < 60
    assert 3 <= answer.body["oldest_event_seconds"] < 60


def test_there_is_nothing_to_write(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution())
    make_old(database_url, "3 hours")

    answer = get(client, "/health")

    assert pipeline_of(answer) == ("ok", None, "idle", 0, None)
    assert 3 * 3600 <= seconds_since(answer.body["last_write"]) < 4 * 3600
    assert answer.body["oldest_event_seconds"] is None


def test_something_is_missing_and_nobody_writes(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=8, outbox_full=3))
    make_old(database_url, "14 minutes")

    answer = get(client, "/health")

    problem = f"Nobody is writing: the last write is 14 minutes old and 4 executions are missing; {START_ONE}"
    assert pipeline_of(answer) == ("degraded", problem, "silent", 4, None)
    assert 14 * 60 <= answer.body["oldest_event_seconds"] < 20 * 60


def test_something_is_missing_though_somebody_writes(client: FlaskClient, database_url: str) -> None:
    write(database_url, sender=source(captured=4))
    make_old(database_url, "2 hours")
    write(database_url, execution())

    problem = "The oldest event that is not written is 2 hours old, 4 executions are missing; aurea check says where"
    assert pipeline_of(get(client, "/health")) == ("degraded", problem, "writing", 4, None)


def test_what_was_missing_has_come(client: FlaskClient, database_url: str) -> None:
    sender = source(captured=2)
    write(database_url, execution(), sender=sender)
    make_old(database_url, "10 minutes")
    write(database_url, execution(), sender=sender)

    answer = get(client, "/health")

    assert pipeline_of(answer) == ("ok", None, "writing", 0, None)
    assert answer.body["oldest_event_seconds"] < 60


def test_the_writers_are_behind(client: FlaskClient, database_url: str) -> None:
    for seconds in (900, 600):
        write(database_url, execution(ended_at_us=now_us() - seconds * 1_000_000))

    problem = "The oldest event that is not written is 10 minutes old: the writers are behind; start more of them"
    assert pipeline_of(get(client, "/health")) == ("degraded", problem, "writing", 0, None)


def test_what_a_dead_process_had_left_says_nothing_of_the_writers(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution(ended_at_us=now_us() - 10_000_000_000))
    write(database_url, execution())

    assert pipeline_of(get(client, "/health")) == ("ok", None, "writing", 0, None)


def test_an_event_that_comes_again_is_not_an_old_one(client: FlaskClient, database_url: str) -> None:
    old, sender = execution(ended_at_us=now_us() - 900_000_000), source(captured=1)
    write(database_url, old, sender=sender)
    write(database_url, old, sender=sender)

    assert pipeline_of(get(client, "/health")) == ("ok", None, "writing", 0, None)


def test_the_queue_is_looked_at_where_its_broker_is_named(
    database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUREA_BROKER_URL", broker_url)
    monkeypatch.setattr(broker_queue, "LOOK_KEPT_SECONDS", 3600.0)
    write(database_url, execution())
    make_old(database_url, "14 minutes")
    client = create_app(database_url).test_client()
    empty = get(client, "/health")
    with Celery("sender", broker=broker_url) as app:
        for _ in range(3):
            app.send_task("aurea_celery.write_metrics", args=("{}",), queue="aurea_metrics")
    kept = get(client, "/health")
    monkeypatch.setattr(broker_queue, "LOOK_KEPT_SECONDS", 0.0)
    waiting = get(client, "/health")

    assert pipeline_of(empty) == pipeline_of(kept) == ("ok", None, "idle", 0, 0)
    problem = f"Nobody is writing: the last write is 14 minutes old and 3 messages wait in aurea_metrics; {START_ONE}"
    assert pipeline_of(waiting) == ("degraded", problem, "silent", 0, 3)


def test_a_broker_that_is_away_is_not_known(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUREA_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    write(database_url, execution())
    client = create_app(database_url).test_client()

    assert pipeline_of(get(client, "/health")) == ("ok", None, "writing", 0, None)


def test_books_that_cannot_be_read_in_time_are_a_503(client: FlaskClient, database_url: str) -> None:
    begin = time.monotonic()
    with connected(database_url) as connection:
        connection.execute(sa.text("LOCK TABLE metrics_sources IN ACCESS EXCLUSIVE MODE"))
        answer = get(client, "/health")

    assert answer.status == 503
    assert (answer.body["status"], answer.body["failing"]) == ("unhealthy", "database")
    assert time.monotonic() - begin < health.MOST_STATEMENT_SECONDS + 10
