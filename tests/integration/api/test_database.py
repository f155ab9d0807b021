"""What the API says while the database cannot be used, and that it goes on by itself afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_api.store import Store
from aurea_celery.storage.database import parse_url
from aurea_celery.storage.schema import VERSION_TABLE
from tests.support.api import METRIC, Answer, get, post
from tests.support.databases import connected, scalar
from tests.support.servers import free_port

AWAY = {"error": "the database is not available; try again in a few seconds"}
POOL_SIZE = 4
GETS = ("/metrics/jobs", "/metrics/jobs/job_123", "/metrics/jobs/job_123/details")


@contextlib.contextmanager
def away(url: str, server_url: str) -> Iterator[None]:
    """The database refuses connections, and has ended those there were."""
    name = parse_url(url).database
    refuse = f"ALTER DATABASE {name} ALLOW_CONNECTIONS"
    with connected(server_url) as connection:
        connection.execute(sa.text(f"{refuse} false"))
    with connected(server_url) as connection:
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name},
        )
    yield
    with connected(server_url) as connection:
        connection.execute(sa.text(f"{refuse} true"))


def all_calls(client: FlaskClient) -> list[Answer]:
    return [*(get(client, path) for path in GETS), post(client, METRIC)]


def test_away_and_back(client: FlaskClient, database_url: str, postgres_url: str) -> None:
    post(client, METRIC)

    with away(database_url, postgres_url):
        answers = all_calls(client)
        health = get(client, "/health")
    back = all_calls(client)

    assert [(one.status, one.body) for one in answers] == [(503, AWAY)] * 4
    assert all(int(one.headers["Retry-After"]) > 0 for one in answers)
    assert health.status == 503
    assert (health.body["status"], health.body["failing"]) == ("unhealthy", "database")
    assert [one.status for one in back] == [200, 200, 200, 201]
    assert get(client, "/health").status == 200


def test_a_metric_refused_while_the_database_is_away_is_not_in_the_books(
    client: FlaskClient, database_url: str, postgres_url: str
) -> None:
    post(client, METRIC)
    with away(database_url, postgres_url):
        post(client, METRIC)
    post(client, METRIC)

    assert scalar(database_url, "SELECT array_agg((captured, written)::text) FROM metrics_sources") == ["(2,2)"]


def test_nobody_listens() -> None:
    port = free_port()
    client = create_app(f"postgresql://aurea:secret@127.0.0.1:{port}/name").test_client()

    answers = [*all_calls(client), get(client, "/health")]

    assert [one.status for one in answers] == [503] * 5
    for one in answers:
        assert "secret" not in str(one)
        assert str(port) not in str(one)


UNUSABLE = {
    "no tables": (None, "the database has no aurea-celery tables; run: aurea db upgrade"),
    "older": ("0000", "the database's aurea-celery tables are of an older release; run: aurea db upgrade"),
    "newer": ("9999", "the database's aurea-celery tables are of a newer release; upgrade aurea-celery here"),
}


@pytest.mark.parametrize(("revision", "sentence"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_tables_of_another_release_are_said(
    client: FlaskClient, database_url: str, revision: str, sentence: str
) -> None:
    post(client, METRIC)  # a release may change while the API runs
    change = f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'" if revision else f"DROP TABLE {VERSION_TABLE}"
    with connected(database_url) as connection:
        connection.execute(sa.text(change))

    answers, health = all_calls(client), get(client, "/health")

    assert [(one.status, one.body) for one in answers] == [(503, {"error": sentence})] * 4
    assert health.status == 503
    assert health.body == {"status": "unhealthy", "failing": "schema", "error": sentence}
    assert scalar(database_url, "SELECT count(*) FROM metrics") == 1


def test_a_database_without_tables_is_said(empty_database_url: str) -> None:
    client = create_app(empty_database_url).test_client()

    answers, health = all_calls(client), get(client, "/health")

    assert {one.status for one in (*answers, health)} == {503}
    assert {one.body["error"] for one in (*answers, health)} == {UNUSABLE["no tables"][1]}


def test_a_broken_table_says_nothing_of_the_inside(client: FlaskClient, database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("ALTER TABLE metrics_jobs RENAME COLUMN last_at TO moved"))

    answer = get(client, "/metrics/jobs")

    said = "the database's tables are not those of this release; aurea db check says what is missing, and what to do"
    assert (answer.status, answer.body) == (503, {"error": said})


def test_more_requests_than_connections_wait_and_are_then_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database_url)
    monkeypatch.setattr("aurea_api.blueprint.Store", lambda _: store)
    client = create_app(database_url).test_client()
    with contextlib.ExitStack() as busy:
        for _ in range(POOL_SIZE):
            pool = busy.enter_context(store.connect()).engine.pool
        monkeypatch.setattr(pool, "_timeout", 0.1)
        answer = get(client, "/metrics/jobs")

    assert (answer.status, answer.body) == (503, {"error": "all connections to the database are busy; try again later"})
    assert get(client, "/metrics/jobs").status == 200
