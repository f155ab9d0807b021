"""The blueprint in somebody's app."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient

from aurea_api import create_blueprint, jobs
from aurea_celery.errors import ConfigurationError
from tests.support.api import METRIC, get, path_of, post
from tests.support.databases import Databases, scalar


@pytest.fixture
def host(database_url: str) -> Flask:
    """An app with pages, hooks and error handling of its own, and our blueprint below a prefix."""
    app = Flask("host")
    app.before_request(_log_body)
    app.add_url_rule("/", "home", lambda: "home")
    app.add_url_rule("/broken", "broken", _break)
    app.register_error_handler(404, lambda _: Response("the host's 404", 404))
    app.register_error_handler(405, lambda _: Response("the host's 405", 405))
    app.register_error_handler(400, lambda _: Response("the host's 400", 400))
    app.register_error_handler(Exception, lambda _: Response("the host's 500", 500))
    app.register_blueprint(create_blueprint(database_url), url_prefix="/costs")
    return app


def _log_body() -> None:
    request.get_data()


def _break() -> str:
    raise RuntimeError("the host's own bug")


@pytest.fixture
def client(host: Flask) -> FlaskClient:
    return host.test_client()


@pytest.mark.parametrize("job_id", ["job_123", "a/details", "/", "..", "metrics/jobs/x"])
def test_all_calls_work_below_a_prefix(client: FlaskClient, job_id: str) -> None:
    created = post(client, METRIC | {"job_id": job_id}, "/costs/metrics")

    assert created.status == 201
    assert get(client, "/costs/health").status == 200
    assert get(client, f"/costs{path_of(job_id)}").body["job_id"] == job_id
    assert get(client, f"/costs{path_of(job_id)}/details").body["metrics"] == [created.body["metric"]]
    assert get(client, "/costs/metrics/jobs").body["jobs"][0]["job_id"] == job_id


def test_all_calls_work_below_a_mounting_server(host: Flask) -> None:
    client = host.test_client()
    post(client, METRIC | {"job_id": "a/details"}, "/costs/metrics")

    answer = client.get("/mounted/costs/metrics/jobs/a%2Fdetails", base_url="http://localhost/mounted")
    mounted = client.get("/costs/metrics/jobs/a%2Fdetails", base_url="http://localhost/mounted")

    assert answer.data == b"the host's 404"
    assert mounted.status_code == 200


def test_our_errors_are_ours(client: FlaskClient) -> None:
    assert get(client, "/costs/metrics/jobs/nobody").body["error"].startswith("nothing is known of this job")
    assert post(client, {}, "/costs/metrics").body == {"error": "Missing required field: job_id"}
    assert get(client, "/costs/metrics/jobs?limit=0").status == 400
    assert client.post("/costs/metrics").mimetype == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/", "home"),
        ("GET", "/nowhere", "the host's 404"),
        ("GET", "/costs/nowhere", "the host's 404"),
        ("POST", "/", "the host's 405"),
        ("GET", "/broken", "the host's 500"),
    ],
)
def test_the_hosts_pages_and_errors_stay_its_own(client: FlaskClient, method: str, path: str, text: str) -> None:
    assert client.open(path, method=method).text == text


def test_our_faults_are_ours_and_say_nothing_of_the_inside(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(jobs, "read_jobs")

    answer = get(client, "/costs/metrics/jobs")

    assert answer.status == 500
    assert answer.body == {"error": "the call failed because of a fault in aurea-celery; its log says more"}


def test_two_apps_and_two_databases_do_not_meet(databases: Databases, database_url: str) -> None:
    with databases.migrated() as other_url:
        clients = []
        for url in (database_url, other_url):
            app = Flask("host")
            app.register_blueprint(create_blueprint(url))
            clients.append(app.test_client())
        post(clients[0], METRIC)

        assert get(clients[0], "/metrics/jobs/job_123").status == 200
        assert get(clients[1], "/metrics/jobs/job_123").status == 404


def test_one_blueprint_works_in_two_apps(database_url: str) -> None:
    blueprint = create_blueprint(database_url)
    for _ in range(2):
        app = Flask("host")
        app.register_blueprint(blueprint)
        assert get(app.test_client(), "/metrics/jobs/a%2Fb").status == 404


def test_without_a_database_no_blueprint_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        create_blueprint()


def test_the_environment_names_the_database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = Flask("host")
    app.register_blueprint(create_blueprint())

    assert get(app.test_client(), "/health").status == 200


def test_a_forked_child_has_connections_and_books_of_its_own(client: FlaskClient, database_url: str) -> None:
    post(client, METRIC, "/costs/metrics")
    child = os.fork()
    if child == 0:
        _end_with(lambda: post(client, METRIC, "/costs/metrics").status == 201)
    _, status = os.waitpid(child, 0)
    post(client, METRIC, "/costs/metrics")

    assert os.waitstatus_to_exitcode(status) == 0
    assert get(client, "/costs/metrics/jobs/job_123").body["total_tasks"] == 3
    assert scalar(database_url, "SELECT array_agg(captured ORDER BY captured) FROM metrics_sources") == [1, 2]


def _end_with(works: Callable[[], bool]) -> None:
    """End this forked process, whatever happens."""
    try:
        os._exit(0 if works() else 1)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    os._exit(2)
