"""The figures of the dashboard are those of the API for the same executions, and those of a count of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.storage.books import read_books
from aurea_celery.storage.budgets import list_budgets
from aurea_celery.storage.pulse import read_pulse
from aurea_celery.storage.spending import priced_share
from deploy.grafana.expand import Chosen, Range, expand
from tests.support import history
from tests.support.api import get, path_of
from tests.support.databases import connected
from tests.support.grafana import panel_sql
from tests.support.grafana_databases import HOSTILE, NOW, reading

pytestmark = pytest.mark.clock("leap-day")

EVER = Range(history.BEGIN - timedelta(days=1), NOW + timedelta(days=1), "100000d")
"""One point of time for everything."""

ODD = Range(history.BEGIN + timedelta(hours=5, seconds=7), history.END - timedelta(hours=4, microseconds=1), "100000d")
CHOICES: list[tuple[Range, Chosen]] = [
    (EVER, {}),
    (ODD, {}),
    (ODD, {"job": ["chat/1"]}),
    (ODD, {"job": ["chat/1", "nightly"], "status": ["success", "timeout"]}),
    (EVER, {"task": ["shop.ask", "shop.pay"], "model": ["gpt-4"]}),
    (ODD, {"task": ["shop.draw"], "status": ["failure", "retry", "lost"]}),
]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def client(small_url: str) -> FlaskClient:
    return create_app(small_url).test_client()


@pytest.fixture(scope="module")
def cursor(small_url: str) -> Iterator[Any]:
    with reading(small_url) as opened:
        yield opened


def shown(cursor: Any, title: str, time: Range = EVER, chosen: Chosen | None = None) -> list[Row]:
    """What a panel shows."""
    cursor.execute(expand(panel_sql(title), time, chosen))
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def answer(client: FlaskClient, path: str, time: Range, chosen: Chosen, **more: str) -> Any:
    """What the API answers."""
    times = {"since": time.begin.isoformat(), "until": time.end.isoformat()}
    return get(client, f"{path}?{urlencode({**times, **chosen, **more}, doseq=True)}").body


def near(value: Any) -> Any:
    """A number, but for the digits that the API rounds."""
    return None if value is None else pytest.approx(float(value), rel=1e-3, abs=1e-3)


def plain(value: Any) -> float | None:
    """What Grafana makes of a number."""
    return None if value is None else float(value)


def cost_of(spent: Any) -> Decimal | None:
    """A sum of cost; where no token of it has a price it is not known, and a panel shows none."""
    return None if spent["unpriced_tokens"] and not spent["total_cost"] else spent["total_cost"]


def sums_of(spent: Any, counted: str) -> list[Any]:
    """What stands in the columns of a panel about money."""
    return [spent[counted], spent["total_tokens"], cost_of(spent), spent["unpriced_tokens"], spent["priced_share"]]


def exact(*values: Any) -> list[Decimal | None]:
    return [None if value is None else Decimal(value) for value in values]


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_totals(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    totals = answer(client, "/metrics/summary", time, chosen)["totals"]
    (row,) = shown(cursor, "Total Metrics", time, chosen)

    assert exact(*row.values()) == exact(*sums_of(totals, "total_tasks"))
    assert totals["total_tasks"] > 5


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_endings_and_waste(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    totals = answer(client, "/metrics/summary", time, chosen)["totals"]
    (row,) = shown(cursor, "Success and Failure", time, chosen)

    waste = totals["waste"]
    expected = exact(totals["errors"], cost_of(waste), waste["unpriced_tokens"])
    assert exact(row["Failed"], row["Wasted cost"], row["Wasted unpriced tokens"]) == expected
    assert plain(row["Failure share"]) == near(totals["error_share"])
    if time.interval == EVER.interval:
        assert (
            sum(one["value"] for one in shown(cursor, "Cost of Retries and Failures", time, chosen))
            == waste["total_cost"]
        )
        (share,) = shown(cursor, "Failure Share", time, chosen)
        assert plain(share["failed"]) == near(totals["error_share"])


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_the_rate_and_the_change(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    said = answer(client, "/metrics/summary", time, chosen)
    (row,) = shown(cursor, "Spend Rate", time, chosen)

    before = said["previous"]["total_cost"]
    assert plain(row["Cost per hour"]) == near(said["cost_per_hour"])
    assert plain(row["30 days at this rate"]) == near(said["cost_per_hour"] * 720)
    assert plain(row["Change"]) == near(said["totals"]["total_cost"] / before - 1 if before else None)
    assert exact(row["Priced share"]) == exact(said["totals"]["priced_share"])


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_tasks(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    tasks = answer(client, "/metrics/tasks", time, chosen, limit="50")["tasks"]
    rows = {row["Task"]: row for row in shown(cursor, "Cost by Task", time, chosen)}
    averages = {row["metric"]: row["value"] for row in shown(cursor, "Average Latency by Task", time, chosen)}

    assert rows.keys() == {task["task_name"] for task in tasks} >= averages.keys()
    assert len(averages) == min(len(rows), 10)
    for task in tasks:
        row, totals = rows[task["task_name"]], task["totals"]
        columns = ("Executions", "Tokens", "Cost", "Unpriced tokens", "Priced share")
        assert exact(*(row[name] for name in columns)) == exact(*sums_of(totals, "total_tasks"))
        assert exact(row["Wasted cost"]) == exact(cost_of(totals["waste"]))
        assert plain(row["Cost per execution"]) == (None if cost_of(totals) is None else near(totals["avg_cost"]))
        if task["task_name"] in averages:
            assert plain(averages[task["task_name"]]) == near(totals["avg_latency_ms"])


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_models(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    models = {
        one["model"]: one["totals"] for one in answer(client, "/metrics/models", time, chosen, limit="50")["models"]
    }
    costs = {row["Model"]: row for row in shown(cursor, "Cost Breakdown by Model", time, chosen)}
    tokens = {row["Model"]: row["Tokens"] for row in shown(cursor, "Token Usage by Model", time, chosen)}
    unpriced = {row["Model"]: row["Unpriced tokens"] for row in shown(cursor, "Unpriced Usage", time, chosen)}
    latencies = {row["Model"]: row for row in shown(cursor, "Latency by Model", time, chosen)}

    assert costs.keys() == models.keys() - {"none"}
    for model, totals in models.items():
        columns = ("Calls", "Tokens", "Cost", "Unpriced tokens", "Priced share")
        if model != "none":
            assert exact(*(costs[model][name] for name in columns)) == exact(*sums_of(totals, "calls"))
            assert tokens[model] == totals["total_tokens"]
        assert unpriced.get(model, 0) == totals["unpriced_tokens"]
        for name in ("p50", "p95", "p99"):
            assert latencies.get(model, {}).get(name) == near(totals[f"{name}_latency_ms"])


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_latencies_and_throughput(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    totals = answer(client, "/metrics/summary", time, chosen)["totals"]
    (row,) = shown(cursor, "Latency Percentiles", time, chosen)

    assert [row[name] for name in ("p50", "p95", "p99")] == [
        near(totals[f"{name}_latency_ms"]) for name in ("p50", "p95", "p99")
    ]
    for title, column in (("Latency Distribution", "Executions"), ("Throughput", "value")):
        assert sum(one[column] for one in shown(cursor, title, time, chosen)) == totals["total_tasks"]
    (kinds,) = shown(cursor, "Input and Output Tokens", time, chosen)
    assert [kinds["input"], kinds["output"]] == [totals["input_tokens"], totals["output_tokens"]]
    assert kinds["input"] + kinds["output"] + kinds["not told apart"] == totals["total_tokens"]


@pytest.mark.parametrize(("time", "chosen"), CHOICES)
def test_the_costs_of_jobs_add_up(client: FlaskClient, cursor: Any, time: Range, chosen: Chosen) -> None:
    totals = answer(client, "/metrics/summary", time, chosen)["totals"]
    rows = shown(cursor, "Total Cost by Job", time, chosen)

    assert sum(row["value"] for row in rows) == totals["total_cost"]
    for row in rows:
        if row["metric"] != "all others":
            by_hand = answer(client, "/metrics/summary", time, {**chosen, "job": [row["metric"]]})["totals"]
            assert row["value"] == by_hand["total_cost"]


def test_jobs_are_those_of_the_api(client: FlaskClient, cursor: Any) -> None:
    jobs = get(client, "/metrics/jobs?sort=cost").body["jobs"]
    rows = {row["Job"]: row for row in shown(cursor, "Most Expensive Jobs")}

    assert shown(cursor, "Active Jobs") == [{"Active jobs": len(jobs)}]
    assert rows.keys() == {job["job_id"] for job in jobs} >= set(HOSTILE)
    for job in jobs:
        row, alone = rows[job["job_id"]], get(client, path_of(job["job_id"])).body
        columns = ("Executions", "Tokens", "Cost", "Unpriced tokens", "Priced share")
        assert exact(*(row[name] for name in columns)) == exact(*sums_of(alone, "total_tasks"))
        assert exact(row["Wasted cost"]) == exact(cost_of(alone["waste"]))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_finds_its_rows_whatever_is_in_it(cursor: Any, name: str) -> None:
    for variable in ("job", "task", "model"):
        assert shown(cursor, "Total Metrics", EVER, {variable: [name]})[0]["Executions"] == 1
        assert shown(cursor, "Active Jobs", EVER, {variable: [name]}) == [{"Active jobs": 1}]
        assert [row["Job"] for row in shown(cursor, "Task Execution Timeline", EVER, {variable: [name]})] == [name]


def test_the_timeline_is_the_rows(client: FlaskClient, cursor: Any) -> None:
    details = get(client, f"{path_of('chat/1')}/details?limit=200").body["metrics"]
    rows = shown(cursor, "Task Execution Timeline", EVER, {"job": ["chat/1"]})

    assert len(rows) == len(details) > 50
    assert sorted(row["Time"].isoformat() for row in rows) == sorted(
        one["created_at"][:-1] + "+00:00" for one in details
    )
    assert sum(row["Cost"] or 0 for row in rows) == sum(one["cost_estimate"] for one in details)
    assert sum(row["Latency"] or 0 for row in rows) == sum(one["latency_ms"] for one in details)
    known = {(row["Cost known"], row["Cost"] is not None, row["Unpriced tokens"] > 0) for row in rows}
    assert known == {("yes", True, False), ("in part", True, True), ("no", False, True), ("", False, False)}


def test_exceptions_are_those_of_the_last_day_or_of_the_job(cursor: Any, small_url: str) -> None:
    everywhere = shown(cursor, "Top Exceptions", Range(history.BEGIN, history.END))
    by_hand = "SELECT count(*) FROM metrics WHERE executions = 1 AND status NOT IN ('success', 'ignored') AND {}"
    with connected(small_url) as connection:
        since = history.END - timedelta(hours=24)
        recent = connection.scalar(sa.text(by_hand.format("created_at >= :since")), {"since": since})
        of_job = connection.scalar(sa.text(by_hand.format("job_id = 'chat/2'")))

    assert sum(row["Executions"] for row in everywhere) == pytest.approx(recent, abs=3)  # it begins with a quarter
    assert sum(row["Executions"] for row in shown(cursor, "Top Exceptions", EVER, {"job": ["chat/2"]})) == of_job
    assert "(timeout)" in {row["Error"] for row in everywhere}


def test_budgets_are_those_of_the_command(cursor: Any, small_url: str) -> None:
    rows = {(row["Budget of"], row["Per"]): row for row in shown(cursor, "Budgets")}
    with connected(small_url) as connection:
        budgets = list_budgets(connection)

    assert len(rows) == len(budgets) == 3
    for budget in budgets:
        row = rows[budget.key.job or "all jobs", budget.key.period]
        share = priced_share(budget.total_tokens, budget.unpriced_tokens)
        said = (budget.usd, budget.spent_usd, budget.jobs, budget.used_up, budget.unpriced_tokens, share)
        columns = ("Budget", "Spent", "Jobs", "Jobs used up", "Unpriced tokens", "Priced share")
        assert exact(*(row[name] for name in columns)) == exact(*said)
        assert row["When used up"] == budget.on_exceed


def test_the_writers_figures_are_those_of_the_books(cursor: Any, small_url: str) -> None:
    (row,) = shown(cursor, "Writer")
    with connected(small_url) as connection:
        books, pulse = read_books(connection), read_pulse(connection)

    assert [row["Written"], row["Rejected"], row["Dropped"]] == [books.written, books.rejected, books.dropped]
    assert row["Not written yet"] == pulse.backlog
    assert float(row["Since last write"]) == pytest.approx(pulse.seconds_since_write, abs=30)
