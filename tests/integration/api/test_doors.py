"""Who is let in, and what everyone is told."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient

from aurea_api import create_app, create_blueprint
from aurea_api.doors import Doors, is_local
from aurea_api.tokens import Tokens, hashed_entry, new_token
from aurea_celery.errors import ConfigurationError
from tests.support.api import METRIC, read_json

READ, WRITE = "0123456789-reads", "0123456789-writes"
TOKENS = f"read:{READ}, write:sha256:{hashlib.sha256(WRITE.encode()).hexdigest()}"
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}
CALLS = [("GET", "/metrics/jobs"), ("GET", "/metrics/summary"), ("GET", "/metrics/jobs/a"), ("POST", "/metrics")]


def client_of(url: str, **environ: str) -> FlaskClient:
    app = Flask("host")
    app.register_blueprint(create_blueprint(url, doors=Doors.of_environment(environ)), url_prefix="/costs")
    return app.test_client()


def ask(client: FlaskClient, method: str, path: str, token: str | None = None, **options: Any) -> tuple[int, Any]:
    headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    if method == "POST":
        options["json"] = METRIC
    answer = client.open("/costs" + path, method=method, headers=headers, **options)
    return answer.status_code, read_json(answer.data)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_token_opens_what_it_is_good_for(database_url: str, method: str, path: str) -> None:
    client = client_of(database_url, AUREA_API_TOKENS=TOKENS)
    ask(client, "POST", "/metrics", WRITE)
    done = {"GET": 200, "POST": 201}[method]
    if path.endswith("/a"):
        path = "/metrics/jobs/job_123"

    without, wrong = ask(client, method, path), ask(client, method, path, READ + "x")

    assert without == (401, {"error": "say who you are: Authorization: Bearer TOKEN"})
    assert wrong == (401, {"error": "this token is not known"})
    assert ask(client, method, path, WRITE, environ_overrides=ELSEWHERE)[0] == done
    if method == "GET":
        assert ask(client, method, path, READ, environ_overrides=ELSEWHERE)[0] == 200
    else:
        assert ask(client, method, path, READ) == (403, {"error": "this token may read, and not write"})


def test_a_client_without_a_token_is_told_how_to_come_back(database_url: str) -> None:
    answer = client_of(database_url, AUREA_API_TOKENS=TOKENS).get("/costs/metrics/jobs")

    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="aurea"'


@pytest.mark.parametrize(
    ("headers", "environ", "status"),
    [
        ({}, {}, 200),
        ({"Host": "127.0.0.1:4000"}, {"REMOTE_ADDR": "::1"}, 200),
        ({"Host": "[::1]:4000"}, {"REMOTE_ADDR": "127.8.8.8"}, 200),
        ({}, ELSEWHERE, 403),
        ({}, {"REMOTE_ADDR": ""}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, {}, 403),
        ({"Forwarded": "for=127.0.0.1"}, {}, 403),
        ({"X-Real-IP": "127.0.0.1"}, {}, 403),
        ({"X-Forwarded-Proto": "https"}, {}, 403),
        ({"Via": "1.1 proxy"}, {}, 403),
        ({}, {"REMOTE_ADDR": "::ffff:127.0.0.1"}, 200),
        ({}, {"REMOTE_ADDR": "::ffff:192.0.2.7"}, 403),
        ({"Host": "evil.example"}, {}, 403),
        ({"X-Forwarded-Prefix": "/costs"}, {}, 403),
        ({"x-forwarded-port": "443"}, {}, 403),
    ],
)
def test_without_tokens_the_machine_itself_is_let_in(
    database_url: str, headers: dict[str, str], environ: dict[str, str], status: int
) -> None:
    client = client_of(database_url)

    found, body = ask(client, "GET", "/metrics/jobs", headers=headers, environ_overrides=environ)

    assert found == status
    assert status == 200 or body["error"].startswith("without tokens the API answers the machine it runs on alone")


OWN_HOSTS = [
    *("localhost", "LocalHost:4000", "localhost:", "ip6-localhost", "127.0.0.1", "127.8.8.8:65535"),
    *("[::1]", "[::1]:4000", "[0:0:0:0:0:0:0:1]", "[::FFFF:127.0.0.1]", "[::ffff:7f00:1]"),
]
FOREIGN_HOSTS = [
    *("", " ", ":", ":4000", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:1"),
    *("[::1].evil.example", "[::1]evil.example", "[::1]:80@evil.example", "[::1]:80.evil.example", "[::1", "[]", "::1"),
    *("[localhost]", "[127.0.0.1]", "[::1%25lo]", "[::1%lo]", "[[::1]]", "[::1]]", "[::2]", "[::ffff:192.0.2.7]"),
    *("localhost@evil.example", "evil.example@localhost", "localhost:80@evil.example", "localhost:evil"),
    *("localhost:-1", "localhost:4000:4000", "localhost:400000", "localhost,evil.example", "localhost evil.example"),
    *("localhost#evil", "localhost?evil", "localhost\\evil", "localhost%00.evil.example", "http://localhost"),
    *("localhost/evil", "localhost.", "127.0.0.1.", "localhost.localdomain", "xlocalhost", "local%68ost"),
    *("127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.01", "127.0.0.1.1", "0.0.0.1"),
]


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_the_machines_own_names_are_let_in(host: str) -> None:
    assert is_local(Request({"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": host}))


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_only_looks_like_one_of_them_is_not(host: str) -> None:
    assert not is_local(Request({"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": host}))


def test_an_app_that_asks_by_itself_is_trusted(database_url: str) -> None:
    app = Flask("host")
    app.register_blueprint(create_blueprint(database_url, doors=Doors.of_environment({}, is_guarded=True)))

    assert app.test_client().get("/metrics/jobs", environ_overrides=ELSEWHERE).status_code == 200


def test_everyone_may_ask_whether_it_is_well_and_only_who_may_read_is_told_more(database_url: str) -> None:
    client = client_of(database_url, AUREA_API_TOKENS=TOKENS)

    assert ask(client, "GET", "/health", environ_overrides=ELSEWHERE) == (200, {"status": "healthy"})
    assert ask(client, "GET", "/health", READ)[1]["database"] == "ok"
    assert ask(client_of(database_url), "GET", "/health", environ_overrides=ELSEWHERE)[1] == {"status": "healthy"}


def test_only_the_names_it_is_told_are_answered_to(database_url: str) -> None:
    client = client_of(database_url, AUREA_API_TOKENS=TOKENS, AUREA_API_HOSTS="costs.example.com, localhost")

    assert ask(client, "GET", "/metrics/jobs", READ, headers={"Host": "COSTS.example.com:443"})[0] == 200
    for host in ("evil.example", "costs.example.com.evil.example", "costs.example.com:1@evil.example", "localhost,a"):
        assert ask(client, "GET", "/metrics/jobs", READ, headers={"Host": host}) == (
            400,
            {"error": "the API does not answer to this host name; name it in AUREA_API_HOSTS"},
        )
    by_address = client_of(database_url, AUREA_API_TOKENS=TOKENS, AUREA_API_HOSTS="[2001:DB8::1]")
    assert ask(by_address, "GET", "/metrics/jobs", READ, headers={"Host": "[2001:db8::1]:443"})[0] == 200


def test_pages_of_named_origins_may_ask_and_no_others(database_url: str) -> None:
    client = client_of(database_url, AUREA_API_TOKENS=TOKENS, AUREA_API_CORS_ORIGINS="https://grafana.example.com")
    ours, other = {"Origin": "https://grafana.example.com"}, {"Origin": "https://grafana.example.com.evil.example"}
    asks = {"Access-Control-Request-Method": "GET"}

    preflight = client.options("/costs/metrics/jobs", headers=ours | asks)
    answer = client.get("/costs/metrics/jobs", headers=ours | {"Authorization": f"Bearer {READ}"})
    refused = client.options("/costs/metrics/jobs", headers=other | asks)
    unset = client_of(database_url).options("/costs/metrics/jobs", headers=ours | asks)

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ours["Origin"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Origin"] == ours["Origin"]
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]
    for one in (refused, unset):
        assert not any(name.startswith("Access-Control") for name, _ in one.headers)
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/health", "/metrics/jobs", "/metrics/jobs/none", "/nothing"])
def test_every_answer_is_dressed(database_url: str, path: str) -> None:
    headers = create_app(database_url).test_client().get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_app_around_keeps_its_own_headers(database_url: str) -> None:
    app = Flask("host")
    app.register_blueprint(create_blueprint(database_url), url_prefix="/costs")
    app.add_url_rule("/", view_func=lambda: "home")

    assert "Content-Security-Policy" not in app.test_client().get("/").headers


def test_two_apps_in_one_process_have_doors_and_databases_of_their_own(
    database_url: str, empty_database_url: str
) -> None:
    first, second = client_of(database_url, AUREA_API_TOKENS=TOKENS), client_of(empty_database_url)

    assert ask(first, "GET", "/metrics/jobs")[0] == 401
    assert ask(second, "GET", "/metrics/jobs")[0] == 503, "it has no tables"
    assert ask(first, "GET", "/metrics/jobs", READ)[0] == 200


@pytest.mark.parametrize(
    "text",
    [
        "secret-secret-secret",
        "admin:secret-secret-secret",
        "read:",
        "read:secret",
        "read:secret secret secret",
        "read:sha256:secret",
        "write:sha256:" + "A" * 64,
    ],
)
def test_tokens_that_are_wrong_are_told_by_their_number(text: str) -> None:
    with pytest.raises(ConfigurationError, match="entry 2 of AUREA_API_TOKENS") as caught:
        Tokens.parse(f"read:{READ},{text}")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("origin", ["*", "https://a.example/", "https://a.example/x", "a.example"])
def test_origins_that_are_none_are_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="AUREA_API_CORS_ORIGINS must name origins"):
        Doors.of_environment({"AUREA_API_CORS_ORIGINS": origin})


def test_the_greater_scope_counts_in_any_order() -> None:
    for entries in itertools.permutations([f"read:{READ}", f"write:{READ}"]):
        assert Tokens.parse(",".join(entries)).scope_of(READ) == "write"


def test_no_token_is_shown_by_what_holds_it() -> None:
    doors = Doors.of_environment({"AUREA_API_TOKENS": TOKENS})

    assert READ not in repr(doors) + json.dumps(str(doors))
    assert Tokens.parse(hashed_entry("write", READ)).scope_of(READ) == "write"
    assert len(new_token()) >= 43
