"""What Prometheus scrapes: valid, right, bounded, and no counter ever goes backwards."""

from __future__ import annotations

from decimal import Decimal

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from aurea_api.prometheus import LAST_BUCKETS
from aurea_celery.events import ModelCall, TaskEvent, Usage
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.budgets import BudgetKey, set_budget
from aurea_celery.storage.prices import set_prices
from aurea_celery.storage.reprice import Selection, reprice
from aurea_celery.storage.rollups import BUCKET_BASE
from aurea_celery.storage.scrape import OTHER, ModelSums, TaskSums, read_sums
from tests.support.databases import connected
from tests.support.prices import own_price
from tests.support.recorded import execution, model_call, source, write

pytestmark = pytest.mark.clock("47-days")

OPENMETRICS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(client: FlaskClient) -> list[Metric]:
    answer = client.get("/prometheus")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return list(read_text(answer.data.decode()))


def series(families: list[Metric]) -> Series:
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def value(client: FlaskClient, name: str, **labels: str) -> float:
    return series(scrape(client))[name, tuple(sorted(labels.items()))]


def test_an_empty_database_can_be_scraped(client: FlaskClient) -> None:
    found = series(scrape(client))

    assert found["aurea_writer_backlog_events", ()] == 0
    assert ("aurea_writer_last_write_timestamp_seconds", ()) not in found


def test_sums_by_task_and_by_model(client: FlaskClient, database_url: str) -> None:
    both = ModelCall(usage=Usage(input_tokens=1000, output_tokens=200), model="gpt-4", cost_usd=Decimal("0.25"))
    write(
        database_url,
        execution("a", "summarise", both, model_call("house-model", 100), latency_ms=1500),
        execution("b", "summarise", model_call("gpt-4", 500), latency_ms=40),
        replace(execution("b", 'odd "name"\\\n', both, latency_ms=700), status="failure"),
    )

    found = series(scrape(client))

    def by(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert by("aurea_executions_total", task="summarise", status="success") == 2
    assert by("aurea_executions_total", task='odd "name"\\\n', status="failure") == 1
    assert by("aurea_model_calls_total", model="gpt-4") == 3
    tokens = [by("aurea_tokens_total", model="gpt-4", type=kind) for kind in ("input", "output", "unknown")]
    assert tokens == [2000, 400, 500]
    assert by("aurea_cost_usd", model="gpt-4") == 0.515
    assert (by("aurea_cost_usd", model="house-model"), by("aurea_unpriced_tokens", model="house-model")) == (0, 100)
    assert by("aurea_task_cost_usd", task="summarise") == 0.265
    assert by("aurea_task_unpriced_tokens", task="summarise") == 100
    assert by("aurea_execution_duration_seconds_sum", task="summarise") == 1.54
    buckets = [
        by("aurea_execution_duration_seconds_bucket", task="summarise", le=le) for le in ("0.025", "0.05", "1.0")
    ]
    assert [*buckets, by("aurea_execution_duration_seconds_bucket", task="summarise", le="2.5")] == [0, 1, 1, 2]


def test_it_reads_no_rows(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution())
    with connected(database_url) as connection:
        connection.execute(sa.text("ALTER TABLE metrics RENAME TO elsewhere"))

    assert value(client, "aurea_executions_total", task="text_generation", status="success") == 1


def test_openmetrics_for_whoever_takes_it(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution())

    answer = client.get("/prometheus", headers={"Accept": OPENMETRICS})
    read = read_openmetrics(answer.data.decode())  # type: ignore[no-untyped-call]  # it has no type hints
    families = {family.name: family for family in read}

    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.data.endswith(b"# EOF\n")
    assert series(list(families.values())).keys() == series(scrape(client)).keys()
    assert all(family.documentation for family in families.values())
    units = {name: family.unit for name, family in families.items() if family.unit}
    assert units["aurea_cost_usd"] == "usd"
    assert units["aurea_execution_duration_seconds"] == "seconds"
    assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/openmetrics-text;q=0", "nonsense;;=,", ";"])
def test_everybody_else_gets_text(client: FlaskClient, accept: str) -> None:
    assert client.get("/prometheus", headers={"Accept": accept}).mimetype == "text/plain"


def test_the_bounds_of_the_histogram_are_within_five_percent() -> None:
    for le, last in LAST_BUCKETS.items():
        assert abs(BUCKET_BASE**last / (le * 1000) - 1) < 0.05


def test_the_writer_and_the_budgets(client: FlaskClient, database_url: str) -> None:
    with connected(database_url) as connection:
        key = BudgetKey(job="night-*", task="", period="day")
        set_budget(connection, key, Decimal(1))
    rich = model_call("own", 10, "1.5")
    write(database_url, execution("night-1", "t", rich), execution("night-2", "t", model_call("house-model", 7)))
    write(database_url, execution(), sender=source(8, disk_full=3))

    found = series(scrape(client))

    of_budget = (("job_id", "night-*"), ("period", "day"), ("task", ""))
    names = ("limit_usd", "spent_usd", "unpriced_tokens", "jobs", "used_up_jobs")
    assert [found[f"aurea_budget_{name}", of_budget] for name in names] == [1, 1.5, 7, 2, 1]
    assert (found["aurea_writer_backlog_events", ()], found["aurea_dropped_events_total", ()]) == (4, 3)
    assert found["aurea_writer_rejected_total", ()] == 0
    assert found["aurea_writer_last_write_timestamp_seconds", ()] > 1.7e9


def test_a_repricing_lowers_gauges_and_no_counter(client: FlaskClient, database_url: str) -> None:
    write(database_url, execution())
    before = scrape(client)
    with connected(database_url) as connection:
        set_prices(connection, [own_price("gpt-4", total="1")])
    reprice(database_url, pricing_of, Selection())

    after = scrape(client)

    assert series(after)["aurea_cost_usd", (("model", "gpt-4"),)] == 0.0005
    assert backwards(before, after) == []
    assert {family.name for family in before if family.type == "gauge"} >= {"aurea_cost_usd", "aurea_task_cost_usd"}


def backwards(before: list[Metric], after: list[Metric]) -> list[str]:
    """The series of counters and histograms that are smaller than they were, or gone."""
    counted = [family for family in before if family.type in ("counter", "histogram")]
    new = series(after)
    return [f"{key}" for key, old in series(counted).items() if new.get(key, -1) < old]


EXECUTIONS = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from("mnopq"),
    st.integers(0, 10**6),
    st.sampled_from(["success", "retry"]),
)
STEPS = st.lists(st.lists(EXECUTIONS, min_size=1, max_size=4), min_size=2, max_size=5)


def recorded(step: list[tuple[str, str, int, str]]) -> list[TaskEvent]:
    return [
        replace(execution("j", task, model_call(model, latency), latency_ms=latency), status=status)
        for task, model, latency, status in step
    ]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_counter_goes_backwards_and_the_parts_add_up(
    client: FlaskClient, database_url: str, steps: list[list[tuple[str, str, int, str]]]
) -> None:
    before = scrape(client)
    seen = few(database_url)
    for step in steps:
        write(database_url, *recorded(step))
        after, now = scrape(client), few(database_url)

        assert backwards(before, after) == []
        check_histograms(after)
        check_growth(seen, now)
        before, seen = after, now


def check_histograms(families: list[Metric]) -> None:
    (durations,) = (one for one in families if one.name == "aurea_execution_duration_seconds")
    by_task: dict[str, list[tuple[float, float]]] = {}
    for one in durations.samples:
        if one.name.endswith("_bucket"):
            by_task.setdefault(one.labels["task"], []).append((float(one.labels["le"]), one.value))
    found = series(families)
    for task, buckets in by_task.items():
        assert buckets == sorted(buckets)
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        count = found["aurea_execution_duration_seconds_count", (("task", task),)]
        executions = [
            one
            for (name, labels), one in found.items()
            if name == "aurea_executions_total" and ("task", task) in labels
        ]
        assert buckets[-1] == (float("inf"), count)
        assert count == sum(executions)


Sums = tuple[dict[str, TaskSums], dict[str, ModelSums]]


def few(database_url: str) -> Sums:
    """The sums with two names apart and the others together."""
    with connected(database_url) as connection:
        return read_sums(connection, most=2)


def check_growth(before: Sums, after: Sums) -> None:
    assert max(len(after[0]), len(after[1])) <= 3
    for task, old in before[0].items():
        new = after[0][task]
        assert new.latency_ms >= old.latency_ms
        assert new.latencies >= old.latencies
        assert all(new.executions[status] >= count for status, count in old.executions.items())
    for model, spent in before[1].items():
        assert after[1][model].token_count >= spent.token_count


def test_names_beyond_the_first_are_one(database_url: str) -> None:
    for number, name in enumerate("cabd"):
        write(database_url, *(execution("j", name, model_call(name)) for _ in range(number + 1)))

    tasks, models = few(database_url)

    assert {task: sums.executions for task, sums in tasks.items()} == {
        "c": {"success": 1},
        "a": {"success": 2},
        OTHER: {"success": 7},
    }
    assert {model: sums.calls for model, sums in models.items()} == {"c": 1, "a": 2, OTHER: 7}
    assert tasks[OTHER].latencies.total() == 7
