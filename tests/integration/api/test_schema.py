"""The API does what its description says, whatever is asked: schemathesis makes the requests, from the description."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from werkzeug.middleware.proxy_fix import ProxyFix

from aurea_api import Doors, create_app, create_blueprint
from aurea_api.blueprint import CALLS
from aurea_api.calls import Call
from aurea_api.metric_fields import metric_schema
from aurea_celery.storage.schema import metrics
from tests.support import history
from tests.support.api import get, post, read_json
from tests.support.databases import Databases
from tests.support.recorded import write

TOKEN = "0123456789-writes"  # noqa: S105 - it opens nothing but this test
asking = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def filled_url(databases: Databases) -> Iterator[str]:
    with databases.migrated() as url:
        write(url, *history.history(3, 50))
        yield url


@pytest.fixture(scope="module")
def api(filled_url: str) -> Any:
    """The description of an API that asks for tokens, as schemathesis reads it."""
    app = Flask("described")
    doors = Doors.of_environment({"AUREA_API_TOKENS": f"write:{TOKEN}"})
    app.register_blueprint(create_blueprint(filled_url, doors=doors))
    return schemathesis.openapi.from_wsgi("/openapi.json", app, config=CONFIG)


# No schema can say that the 30th of February is no day, that an end is after its beginning, or that a cursor must be
# one that was given out: such requests are refused with 400. A key that was used for something else is a 422.
CONFIG = schemathesis.Config.from_dict(
    {
        "auth": {"openapi": {"bearer": {"bearer": TOKEN}}},
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "422"]}},
    }
)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_call_does_what_its_description_says(api: Any, call: Call, mode: GenerationMode) -> None:
    """Requests that the description allows, and those that it does not."""
    operation = api[call.path][call.method]
    if mode is GenerationMode.NEGATIVE and not operation.query and not operation.body:
        return  # there is nothing in it that can be wrong

    @random_seed()
    @asking
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate()

    ask()


@pytest.mark.parametrize("first", ["GET", "POST"])
def test_calls_after_one_another_do_what_their_description_says(api: Any, first: str) -> None:
    """From the list of jobs, or from what was just posted, to the calls about the job."""
    machine = random_seed()(api.exclude(path="/metrics/jobs" if first == "POST" else "").as_state_machine())
    machine.run(settings=settings(asking, max_examples=20, stateful_step_count=6))


def random_seed() -> Callable[[Any], Any]:
    """Another seed in each run, which a failure shows."""
    number = random.getrandbits(32)
    print(f"@seed({number})")
    return seed(number)


@pytest.fixture
def client(database_url: str) -> FlaskClient:
    return create_app(database_url).test_client()


def test_the_description_is_one(client: FlaskClient) -> None:
    OpenAPIV31SpecValidator(json.loads(client.get("/openapi.json").data)).validate()


def test_every_call_and_every_column_is_described(client: FlaskClient) -> None:
    described = get(client, "/openapi.json").body

    assert {(method.upper(), path) for path, calls in described["paths"].items() for method in calls} == {
        (call.method, call.path) for call in CALLS
    }
    assert set(described["components"]["schemas"]["Row"]["properties"]) == {column.name for column in metrics.c}
    for calls in described["paths"].values():
        for call in calls.values():
            assert call["summary"]
            assert all(": " in one["description"] for one in call["parameters"] if one["in"] == "query")


@pytest.mark.parametrize("call", [call for call in CALLS if call.job], ids=lambda call: call.name)
def test_examples_are_accepted_and_links_lead_to_the_job(client: FlaskClient, call: Call) -> None:
    example = metric_schema()["examples"][0] if call.body is None else call.body["examples"][0]
    answer = post(client, example, "/metrics" if call.body is None else call.path)
    assert answer.status == 201
    told = {"request": example, "response": answer.body if call.body else get(client, call.path).body}
    described = get(client, "/openapi.json").body["paths"]

    links = described[call.path][call.method.lower()]["responses"][str(call.status)]["links"]

    assert set(links) == {"job_summary", "job_details", "job_tree"}
    for link in links.values():
        job_id = pointed_at(told, link["parameters"]["job_id"])
        path = next(
            path for path, calls in described.items() if calls.get("get", {}).get("operationId") == link["operationId"]
        )
        assert get(client, path.replace("{job_id}", job_id)).status == 200


def pointed_at(told: dict[str, Any], expression: str) -> str:
    """What an expression such as ``$response.body#/jobs/0/job_id`` means."""
    source, _, pointer = expression.removeprefix("$").partition(".body#/")
    value = told[source]
    for part in pointer.split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return str(value)


def test_times_are_described_as_such(client: FlaskClient) -> None:
    schemas = get(client, "/openapi.json").body["components"]["schemas"]

    for name, field in (("JobSummary", "first_updated"), ("TimeSeries", "since"), ("CreatedLine", "created_at")):
        assert schemas[name]["properties"][field]["format"] == "date-time"


def test_the_description_says_where_the_api_is(database_url: str) -> None:
    app = Flask("host")
    app.register_blueprint(create_blueprint(database_url), url_prefix="/costs")

    described = get(app.test_client(), "/costs/openapi.json").body

    assert described["servers"] == [{"url": "/costs"}]
    assert "securitySchemes" not in described["components"]


PREFIXES = [
    ("/costs", "/costs"),
    ("/costs/", "/costs"),
    ("/a/b-c_d.e~1", "/a/b-c_d.e~1"),
    ("/outer, /inner", "/outer/inner"),
    ("", "/"),
    ("/", "/"),
    ("costs", "/"),
    ("//evil.example", "/"),
    ("/\\evil.example", "/"),
    ("https://evil.example", "/"),
    ("/a/../b", "/"),
    ("/a//b", "/"),
    ("/a?b", "/"),
    ("/a#b", "/"),
    ("/a%2Fb", "/"),
    ("/a'b", "/"),
    ("/<script>", "/"),
    ("/a b", "/"),
    ("/\u00e4", "/"),
    ("/" + "a" * 300, "/"),
]


@pytest.mark.parametrize(("prefix", "server"), PREFIXES)
def test_behind_a_proxy_the_description_says_where_the_client_sees_it(
    client: FlaskClient, prefix: str, server: str
) -> None:
    headers = {"X-Forwarded-Prefix": prefix}

    described = read_json(client.get("/openapi.json", headers=headers).data)
    page = client.get("/docs", headers=headers).text

    assert described["servers"] == [{"url": server}]
    assert f"'http://localhost{server.rstrip('/')}/metrics/summary'" in page


def test_behind_a_proxy_the_page_shows_its_address(client: FlaskClient) -> None:
    def address(proto: str, host: str) -> str:
        page = client.get("/docs", headers={"X-Forwarded-Proto": proto, "X-Forwarded-Host": host}).text
        return page.partition("/health'")[0].rpartition("'")[2]

    assert address("https", "costs.example.com:8443, inner") == "https://costs.example.com:8443"
    assert address("javascript", "a'$(id)") == "http://localhost"
    assert address("https", "[::1]:1") == "https://[::1]:1"


def test_a_prefix_that_the_app_around_has_put_back_counts_once(database_url: str) -> None:
    app = Flask("host")
    app.register_blueprint(create_blueprint(database_url), url_prefix="/costs")
    app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)  # type: ignore[method-assign]  # as werkzeug's documentation does

    described = get(app.test_client(), "/costs/openapi.json")
    answer = app.test_client().get("/costs/openapi.json", headers={"X-Forwarded-Prefix": "/outer"})

    assert described.body["servers"] == [{"url": "/costs"}]
    assert read_json(answer.data)["servers"] == [{"url": "/outer/costs"}]


def test_the_page_shows_every_call_and_needs_nobody_else(client: FlaskClient) -> None:
    answer = client.get("/docs")
    page = answer.get_data(as_text=True)

    assert answer.mimetype == "text/html"
    assert all(f"<code>{call.path}</code>" in page for call in CALLS)
    assert "<script" not in page
    assert "//" not in page.replace("http://localhost/", "")
    assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]
