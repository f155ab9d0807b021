"""What is wrong with a request is said before the database is asked: here there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from aurea_api import create_app
from aurea_celery.errors import ConfigurationError

GOOD: dict[str, Any] = {
    "job_id": "job_123",
    "task_name": "text_generation",
    "model_used": "gpt-4",
    "token_count": 500,
    "latency_ms": 1250.5,
    "cost_estimate": 0.015,
}
TEXTS, NUMBERS = ("job_id", "task_name", "model_used"), ("token_count", "latency_ms", "cost_estimate")


@pytest.fixture
def client() -> FlaskClient:
    return create_app("postgresql://nobody@127.0.0.1:9/nothing").test_client()


def sentence_of(answer: TestResponse) -> str:
    assert answer.mimetype == "application/json"
    body = json.loads(answer.data)
    assert set(body) == {"error"}
    return str(body["error"])


def post(client: FlaskClient, body: str | bytes, content_type: str = "application/json") -> tuple[int, str]:
    answer = client.post("/metrics", data=body, content_type=content_type)
    return answer.status_code, sentence_of(answer)


@pytest.mark.parametrize("field", [name for name in GOOD if name != "cost_estimate"])
def test_a_missing_field_is_named(client: FlaskClient, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}

    assert post(client, json.dumps(body)) == (400, f"Missing required field: {field}")


def test_of_several_missing_fields_the_first_is_named(client: FlaskClient) -> None:
    assert post(client, "{}") == (400, "Missing required field: job_id")


WRONG_TEXTS = ["null", "1", "1.5", "true", "[]", "{}", '""', '"a\\u0000b"', '"\\ud800"', json.dumps("x" * 256)]
WRONG_NUMBERS = ["null", "true", "false", '"5"', "[1]", "{}", "-1", "-0.001", "NaN", "Infinity", "-Infinity", "1e999"]
WRONG_NUMBERS += ["1e999999999", '"NaN"', '""']
WRONG_COUNTS = ["1.5", "500.0", "9007199254740992", "1e3"]
WRONG_LATENCIES = ["9007199254740.992", "1e13"]
WRONG_COSTS = ["1e-401", "1e-999999999", "0e-999999999", "1000000000000001"]
WRONG = (
    [(field, value) for field in TEXTS for value in WRONG_TEXTS]
    + [(field, value) for field in NUMBERS for value in WRONG_NUMBERS]
    + [("token_count", value) for value in WRONG_COUNTS]
    + [("latency_ms", value) for value in WRONG_LATENCIES]
    + [("cost_estimate", value) for value in WRONG_COSTS]
)


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_is_refused_with_its_fields_name(client: FlaskClient, field: str, value: str) -> None:
    body = {name: json.dumps(good) for name, good in GOOD.items()} | {field: value}

    status, sentence = post(client, "{" + ",".join(f'"{name}":{text}' for name, text in body.items()) + "}")

    assert status == 400
    assert sentence.startswith(f"{field} must be a ")


@pytest.mark.parametrize("name", ["cost", "id", "created_at", "", "x" * 1000, "\ud800", "a\0b"])
def test_an_unknown_field_is_named(client: FlaskClient, name: str) -> None:
    status, sentence = post(client, json.dumps(GOOD | {name: 1}))

    assert status == 400
    assert sentence.startswith(f"Unknown field: {name[:50]!a}")
    assert len(sentence) < 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"job_id=1", b"\xff\xfe\xfd", b'{"job_id": "\xe4"}', b"[" * 200_000, b"1" * 5000, b'{"a": 1}}', b"nan"],
)
def test_what_is_not_json_is_refused(client: FlaskClient, body: bytes) -> None:
    assert post(client, body) == (400, "the body is not JSON; send one object")


@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"', "NaN", "true", json.dumps([GOOD])])
def test_what_is_not_an_object_is_refused(client: FlaskClient, body: str) -> None:
    assert post(client, body) == (400, "the body must be a JSON object")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_another_content_type_is_refused(client: FlaskClient, content_type: str) -> None:
    status, sentence = post(client, json.dumps(GOOD), content_type)

    assert (status, sentence) == (415, "the body must be JSON; send it with Content-Type: application/json")


def test_a_huge_body_is_refused(client: FlaskClient) -> None:
    status, sentence = post(client, json.dumps(GOOD) + " " * 1024 * 1024)

    assert (status, sentence) == (413, "the body is too large; it may have at most 1 MiB")


@pytest.mark.parametrize("path", ["/metrics/jobs", "/metrics/jobs/a/details"])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [(f"limit={text}", "limit must be a whole number from 1 to 1000") for text in ("0", "1001", "-1", "", "ten", "1.5")]
    + [("limit=%D9%A3", "limit must be a whole number from 1 to 1000")]
    + [
        (f"offset={text}", "offset must be a whole number from 0 to ")
        for text in ("-1", "", "x", "1e3", "+1", "9" * 99)
    ]
    + [("limit=5&offset=9007199254740992", "offset must be a whole number from 0 to 9007199254740991")],
)
def test_a_page_outside_of_its_range_is_refused(client: FlaskClient, path: str, query: str, sentence: str) -> None:
    answer = client.get(f"{path}?{query}")

    assert answer.status_code == 400
    assert sentence_of(answer).startswith(sentence)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/job", "/metrics/jobs/", "/static/x", "/health/x"])
def test_an_unknown_address_is_said_in_json(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert sentence_of(answer).startswith("there is nothing at this address")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/metrics", {"POST", "OPTIONS"}),
        ("PUT", "/metrics", {"POST", "OPTIONS"}),
        ("POST", "/metrics/jobs", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/metrics/jobs/a", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/metrics/jobs/a/details", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_said_in_json(client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    answer = client.open(path, method=method)

    assert answer.status_code == 405
    assert sentence_of(answer).startswith("this address does not take that method")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_a_job_id_with_nul_is_of_no_job(client: FlaskClient) -> None:
    for path in ("/metrics/jobs/a%00", "/metrics/jobs/a%00/details"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense"])
def test_an_app_is_not_made_for_a_wrong_database(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        create_app(url)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/metrics/jobs/a/details?limits=1", "Unknown parameter: 'limits'; this call takes limit, offset"),
        ("/health?limit=1", "Unknown parameter: 'limit'; this call takes none"),
        ("/metrics/jobs?limit=1&limit=2", "limit was given more than once"),
        ("/metrics/jobs?limit=1e2", "limit must be a whole number from 1 to 1000"),
    ],
)
def test_a_parameter_that_is_unknown_or_given_twice_is_named(client: FlaskClient, path: str, said: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, sentence_of(answer)) == (400, said)
