"""Whatever a batch claims that can be decoded: every call of the API, and the commands, still answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_api import create_app
from aurea_celery.budget import BudgetStates
from aurea_celery.cli import aurea
from aurea_celery.clock import from_us, new_event_id
from aurea_celery.events import ModelCall, Source, TaskEvent, Usage, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import upkeep
from aurea_celery.storage.bookkeeping import MAX_CLAIM
from aurea_celery.storage.budgets import BudgetKey, set_budget
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.write import Writer
from tests.support.databases import Databases, connected
from tests.support.events import make_event, make_source

MOST = 2**53 - 1
SOURCES = 1_025
MEASURES = ("cost", "waste", "tokens", "input_tokens", "output_tokens", "unpriced_tokens", "tasks", "calls", "errors")
DERIVED = ("error_share", "latency_avg", "latency_p50", "latency_p95", "latency_p99")
TIMES = "since=1970-01-01T00:00:00Z&until=2300-01-01T00:00:00Z"
EVENTS_TIME = "since=2026-09-01T00:00:00Z&until=2026-10-15T00:00:00Z"
PATHS = (
    "/health",
    "/prometheus",
    *(f"/metrics/jobs?sort={sort}" for sort in ("last_updated", "cost", "tasks")),
    *(f"/metrics/jobs/job{part}" for part in ("", "/details", "/tree")),
    *(f"/metrics/{what}{query}" for what in ("summary", "tasks", "models") for query in ("", f"?{TIMES}")),
    *(f"/metrics/tasks?sort={sort}" for sort in ("cost", "tasks", "tokens", "errors", "waste")),
    *(f"/metrics/timeseries?measure={measure}&by=model&{EVENTS_TIME}&interval=1d" for measure in (*MEASURES, *DERIVED)),
    *(f"/metrics/export.{kind}?{TIMES}" for kind in ("csv", "jsonl", "parquet")),
)


def sources(**claims: Any) -> bytes:
    return encode_batch([(make_source(**claims), []) for _ in range(SOURCES)])


def executions(count: int = SOURCES, **fields: Any) -> bytes:
    events = [encode(make_event(event_id=new_event_id(), job_id="job", **fields)) for _ in range(count)]
    return encode_batch([(make_source(captured=count), events)])


def call(**fields: Any) -> ModelCall:
    defaults: dict[str, Any] = {"usage": Usage(input_tokens=MOST), "model": "nobody-knows"}
    return ModelCall(**defaults | fields)


BATCHES: dict[str, Callable[[], bytes]] = {
    "captured": lambda: sources(captured=MOST),
    "dropped": lambda: sources(captured=MOST, dropped={"outbox_full": MOST}),
    "left out": lambda: sources(excluded=MOST, sampled_out=MOST, pid=MOST),
    "reasons": lambda: encode_batch([(make_source(dropped={f"reason {n}": MOST for n in range(3_000)}), [])]),
    "long reasons": lambda: encode_batch([(make_source(dropped={"x" * 1_000_000: 1, "\0": 1, "": 1}), [])]),
    "tokens": lambda: executions(calls=(call(),)),
    "outputs": lambda: executions(calls=(call(usage=Usage(output_tokens=MOST)),), status="failure", redelivered=True),
    "costs": lambda: executions(calls=(call(cost_usd=Decimal(10**15)),)),
    "digits": lambda: executions(20, calls=(call(cost_usd=Decimal("1e-800")),)),
    "latencies": lambda: executions(
        latency_us=MOST, broker_wait_us=MOST, prefetch_wait_us=MOST, attempt=2**31 - 1, calls=(call(latency_us=MOST),)
    ),
    "end of time": lambda: executions(1, started_at_us=MOST, ended_at_us=MOST),
    "beginning of time": lambda: executions(1, started_at_us=0, ended_at_us=0),
    "many calls": lambda: executions(1, calls=tuple(call(usage=Usage(total_tokens=1)) for _ in range(30_000))),
    "many models": lambda: executions(1, calls=tuple(call(model=f"model {n}") for n in range(3_000))),
}


def write(url: str, batch: bytes) -> None:
    writer = Writer(url, pricing_of)
    writer.write(batch.decode())
    msgspec.convert(msgspec.to_builtins(writer.budgets()), BudgetStates)
    writer.close()


def check_all_answer(url: str, client: FlaskClient) -> None:
    """Every call answers, and what is JSON can be read."""
    for path in PATHS:
        answer = client.get(
            path, headers={"Accept": "application/openmetrics-text" if "prom" in path else "*/*"}, buffered=True
        )
        assert answer.status_code == 200 or (answer.status_code == 404 and "/jobs/job" in path), (path, answer.data)
        if answer.mimetype == "application/json":
            json.loads(answer.data)
    for command in (
        ["check"],
        ["check", "--json", "--by-process"],
        ["report"],
        ["report", "--by", "job"],
        ["db", "check"],
    ):
        found = CliRunner(env={"DATABASE_URL": url}).invoke(aurea, command)
        assert found.exception is None or isinstance(found.exception, SystemExit), (command, found.exception)
        assert found.stdout, (command, found.stderr)


def with_budgets(url: str) -> str:
    with connected(url) as connection:
        for key in (BudgetKey(job="job", task="", period="job"), BudgetKey(job="", task="", period="month")):
            set_budget(connection, key, Decimal(1))
    return url


def test_everything_answers_after_hostile_batches(database_url: str) -> None:
    with_budgets(database_url)
    for make in BATCHES.values():
        write(database_url, make())
    upkeep.maintain(database_url)

    check_all_answer(database_url, create_app(database_url).test_client())
    upkeep.rebuild(database_url)
    with connected(database_url) as connection:
        assert rollup_differences(connection) == {}


def test_honest_executions_are_written_beside_hostile_ones(database_url: str) -> None:
    write(database_url, BATCHES["tokens"]())

    write(database_url, executions(3, calls=(call(usage=Usage(input_tokens=7)),)))

    with connected(database_url) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM metrics_rejected")) == 0
        tokens = connection.scalar(sa.text("SELECT token_count FROM metrics_jobs WHERE job_id = 'job'"))
    assert tokens == SOURCES * MOST + 21


def test_a_claim_that_cannot_be_is_not_believed_and_said(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    events = [encode(make_event()) for _ in range(2)]
    hostile = make_source(captured=MAX_CLAIM + 1, dropped={"outbox_full": 5}, host="web-1")

    write(database_url, encode_batch([(hostile, events)]))

    with connected(database_url) as connection:
        found = connection.execute(sa.text("SELECT captured, written, lost, open_since FROM metrics_sources")).one()
    assert found == (0, 2, 0, None)
    assert caplog.messages == [
        "aurea-celery: the process with pid 1 of host 'web-1' claims counts that cannot be; its events are written,"
        " its counts are left out"
    ]


COUNTS = st.sampled_from([0, 1, 10**12, 10**12 + 1, 2**53 - 2, MOST])
CLAIMS = st.builds(
    Source,
    source_id=st.builds(new_event_id),
    host=st.text(max_size=255),
    pid=COUNTS,
    captured=COUNTS,
    dropped=st.dictionaries(st.text(max_size=5), COUNTS, max_size=3),
    excluded=COUNTS,
    sampled_out=COUNTS,
)
TASK_EVENTS = st.builds(
    make_event,
    event_id=st.builds(new_event_id),
    job_id=st.just("job"),
    started_at_us=COUNTS,
    ended_at_us=COUNTS,
    latency_us=COUNTS,
    calls=st.lists(
        st.builds(
            call,
            usage=COUNTS.map(lambda count: Usage(total_tokens=count)),
            cost_usd=st.sampled_from([None, Decimal(0), Decimal(10**15), Decimal("1e-800")]),
        ),
        max_size=3,
    ).map(tuple),
)


@pytest.fixture(scope="module")
def shared_url(databases: Databases) -> Iterator[str]:
    with databases.migrated() as url:
        yield with_budgets(url)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CLAIMS, st.lists(TASK_EVENTS, max_size=3)), min_size=1, max_size=3))
def test_whatever_can_be_decoded_leaves_everything_answering(
    shared_url: str, parts: list[tuple[Source, list[TaskEvent]]]
) -> None:
    write(shared_url, encode_batch([(source, [encode(event) for event in events]) for source, events in parts]))

    client = create_app(shared_url).test_client()
    for path in ("/health", "/prometheus", "/metrics/summary", "/metrics/jobs", f"/metrics/tasks?{TIMES}"):
        assert client.get(path).status_code == 200, path


def test_the_end_of_time_is_in_the_calendar() -> None:
    assert from_us(MOST).year == 2255
