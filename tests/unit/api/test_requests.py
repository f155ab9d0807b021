"""What is wrong with a request is said before the database is asked: here there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from aurea_api import create_app
from aurea_celery.errors import ConfigurationError

pytestmark = pytest.mark.clock

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


@pytest.mark.parametrize("name", ["cost", "id", "seq", "", "x" * 1000, "\ud800", "a\0b"])
def test_an_unknown_field_is_named(client: FlaskClient, name: str) -> None:
    status, sentence = post(client, json.dumps(GOOD | {name: 1}))

    assert status == 400
    assert sentence.startswith(f"Unknown field: {name[:50]!a}")
    assert len(sentence) < 400


OPTIONAL: dict[str, Any] = {
    "event_id": "01a20b85-6d38-70ee-8e3c-09e6e04e2290",
    "created_at": "2026-11-24T09:15:02.352925Z",
    "status": "failure",
    "error_type": "TimeoutError",
    "provider_name": "openai",
    "service_tier": "batch",
    "input_tokens": 400,
    "output_tokens": 100,
    "cache_read_input_tokens": 300,
    "tags": {"team": "search"},
}
WRONG_OPTIONS: list[tuple[str, list[Any]]] = [
    ("event_id", ["", "1", 1, None, "01a20b856d3870ee8e3c09e6e04e2290", "{01a20b85-6d38-70ee-8e3c-09e6e04e2290}"]),
    (
        "created_at",
        [
            *("", "2026-11-24", "2026-11-24T09:15:02", "2026-13-24T09:15:02Z", 1, None),
            *("1969-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        ],
    ),
    ("status", ["", "SUCCESS", "done", 1, None, []]),
    ("error_type", ["", 1, "x" * 256]),
    ("provider_name", ["", "a\0", None]),
    ("service_tier", ["", [], None]),
    ("input_tokens", [-1, 1.5, None, "4"]),
    (
        "tags",
        [None, [], "team=search", {"team": 1}, {"team": "\ud800"}, {"a": "x" * 256}, {f"{n}": "" for n in range(51)}],
    ),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG_OPTIONS for value in values])
def test_a_wrong_option_is_refused_with_its_fields_name(client: FlaskClient, field: str, value: Any) -> None:
    status, sentence = post(client, json.dumps(GOOD | OPTIONAL | {field: value}))

    assert status == 400
    assert sentence.startswith(f"{field} must be ")


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"input_tokens": 1}, "Missing required field: output_tokens"),
        ({"cache_read_input_tokens": 1}, "Missing required field: input_tokens"),
        ({"input_tokens": 1, "output_tokens": 1}, "token_count must be input_tokens + output_tokens"),
        (
            {"input_tokens": 400, "output_tokens": 100, "reasoning_output_tokens": 101},
            "reasoning_output_tokens must not exceed output_tokens",
        ),
    ],
)
def test_counts_that_contradict_each_other_are_refused(
    client: FlaskClient, counts: dict[str, int], sentence: str
) -> None:
    status, said = post(client, json.dumps(GOOD | counts))

    assert (status, said[: len(sentence)]) == (400, sentence)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post("/metrics", json=GOOD, headers={"Idempotency-Key": key})

    assert (answer.status_code, sentence_of(answer)) == (400, "Idempotency-Key must be a text of 1 to 255 characters")


def test_an_id_beside_a_key_is_refused(client: FlaskClient) -> None:
    answer = client.post("/metrics", json=GOOD | OPTIONAL | {"token_count": 500}, headers={"Idempotency-Key": "a"})

    assert answer.status_code == 400
    assert sentence_of(answer).startswith("event_id and Idempotency-Key must not be sent together")


def post_batch(client: FlaskClient, body: Any) -> tuple[int, Any]:
    answer = client.post("/metrics/batch", data=json.dumps(body), content_type="application/json")
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.data)


NO_LISTS: list[Any] = [None, {}, [], [GOOD] * 1001]
NO_BATCHES = [({"metrics": one}, "metrics must be a list of 1 to 1000 objects") for one in NO_LISTS]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Missing required field: metrics"),
        ({"metrics": [GOOD], "more": 1}, "Unknown field: 'more'"),
        ([GOOD], "the body must be a JSON object"),
        *NO_BATCHES,
    ],
)
def test_what_is_no_batch_is_refused(client: FlaskClient, body: Any, sentence: str) -> None:
    assert post_batch(client, body) == (400, {"error": sentence})


def test_every_wrong_metric_of_a_batch_is_named(client: FlaskClient) -> None:
    without_task = {name: value for name, value in GOOD.items() if name != "task_name"}
    wrong = [GOOD, GOOD | {"token_count": -1, "latency_ms": -1}, GOOD, without_task, GOOD | {"cost": 1}, 7]

    status, body = post_batch(client, {"metrics": wrong})

    errors = [
        "metrics[1].token_count must be a whole number from 0 to 9007199254740991",
        "Missing required field: metrics[3].task_name",
        "Unknown field: 'metrics[4].cost'",
        "metrics[5] must be a JSON object",
    ]
    assert (status, body) == (400, {"error": errors[0], "errors": errors})


def test_of_many_wrong_metrics_twenty_are_named(client: FlaskClient) -> None:
    assert len(post_batch(client, {"metrics": [{}] * 1000})[1]["errors"]) == 20


def test_two_metrics_with_one_id_must_be_the_same(client: FlaskClient) -> None:
    one = GOOD | {"event_id": OPTIONAL["event_id"]}

    status, body = post_batch(client, {"metrics": [one, one | {"latency_ms": 1}]})

    assert status == 422
    assert OPTIONAL["event_id"] in body["error"]


def test_a_huge_batch_is_refused(client: FlaskClient) -> None:
    assert post_batch(client, {"metrics": "x" * 4 * 2**20}) == (
        413,
        {"error": "the body is too large; it may have at most 4 MiB"},
    )


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
