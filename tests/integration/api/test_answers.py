"""What the calls about many executions say is what plain SQL over the rows says, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_api import create_app
from aurea_celery.clock import to_us
from aurea_celery.events import STATUSES
from aurea_celery.storage import condensed, upkeep
from aurea_celery.storage.selection import Selection
from aurea_celery.storage.spans import start_of
from tests.support import history
from tests.support.api import get
from tests.support.databases import Databases, connected
from tests.support.recorded import execution, write

pytestmark = pytest.mark.clock

EXECUTIONS = 400
Parameters = list[tuple[str, str]]
Question = tuple[dict[str, list[str]], tuple[datetime, datetime] | None]

TIMES = st.floats(-0.1, 1.1).map(lambda part: history.BEGIN + part * (history.END - history.BEGIN))
PERIODS = st.tuples(TIMES, TIMES).filter(lambda two: two[0] < two[1])
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "job": st.lists(st.sampled_from([*history.JOBS, "no%such"]), min_size=1, max_size=2, unique=True),
        "task": st.lists(st.sampled_from(history.TASKS), min_size=1, max_size=2, unique=True),
        "model": st.lists(st.sampled_from([*history.MODELS, "none", "O'Brien"]), min_size=1, max_size=2, unique=True),
        "provider": st.lists(st.sampled_from(["openai", "anthropic", ""]), min_size=1, max_size=2, unique=True),
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=4, unique=True),
        "tag": st.lists(st.sampled_from(["team:search", "tier:gold"]), min_size=1, max_size=2, unique=True),
    },
)
QUESTIONS = st.tuples(FILTERS, st.none() | PERIODS)
asking = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["as written", "condensed", "condensed but for what came late"])
def filled_url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """The same executions, whether their sums are per quarter of an hour, or per hour and day too, or some of them."""
    events = history.history(7, EXECUTIONS)
    late = sorted(events, key=lambda event: event.ended_at_us)[EXECUTIONS // 3 : EXECUTIONS // 2]
    with databases.migrated() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(condensed, "HOURS_ARE_KEPT", timedelta(days=10_000))
        if request.param == "as written":
            write(url, *events)
        elif request.param == "condensed":
            write(url, *events)
            upkeep.maintain(url)
        else:
            write(url, *(event for event in events if event not in late))
            upkeep.maintain(url)
            write(url, *late)
        yield url


@pytest.fixture
def client(filled_url: str) -> FlaskClient:
    return create_app(filled_url).test_client()


def parameters(question: Question) -> Parameters:
    filters, period = question
    found = [(name, value) for name, values in filters.items() for value in values]
    return found + ([("since", period[0].isoformat()), ("until", period[1].isoformat())] if period else [])


def ask(client: FlaskClient, path: str, given: Parameters) -> Any:
    answer = get(client, f"{path}?{urlencode(given)}")
    assert answer.status == 200, answer.body
    return answer.body


def rows_where(given: Parameters, since: str | None, until: str | None) -> tuple[str, dict[str, Any]]:
    """The condition for the rows, written down once more, without any of the product's."""
    values: dict[str, Any] = {}
    parts = ["true"]
    columns = {"job": "job_id", "task": "task_name", "model": "model_used", "status": "status"}
    columns["provider"] = "coalesce(provider_name, '')"
    for name, column in columns.items():
        if wanted := [value for one, value in given if one == name]:
            values[name] = tuple(wanted)
            parts.append(f"{column} IN :{name}")
    for number, tag in enumerate(value for one, value in given if one == "tag"):
        values[f"name_{number}"], values[f"value_{number}"] = tag.split(":")
        parts.append(f"tags ->> :name_{number} = :value_{number}")
    for word, sign, time in (("since", ">=", since), ("until", "<", until)):
        if time is not None:
            values[word] = time
            parts.append(f"created_at {sign} :{word}")
    return " AND ".join(parts), values


class Rows(NamedTuple):
    """The rows that a question is about."""

    url: str
    given: Parameters
    since: str | None
    until: str | None

    def select(self, select: str, rest: str = "") -> Any:
        where, values = rows_where(self.given, self.since, self.until)
        with connected(self.url) as connection:
            return connection.execute(sa.text(f"SELECT {select} FROM metrics WHERE {where} {rest}"), values).all()


SUMS = (
    "coalesce(sum(executions), 0), coalesce(sum(calls), 0), coalesce(sum(token_count), 0),"
    " coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(unpriced_tokens), 0),"
    " coalesce(sum(cost_estimate), 0), coalesce(sum(latency_ms), 0),"
    " coalesce(sum(executions) FILTER (WHERE status IN ('failure', 'timeout', 'lost', 'rejected')), 0),"
    " coalesce(sum(cost_estimate) FILTER (WHERE status NOT IN ('success', 'ignored')), 0),"
    " coalesce(sum(cost_estimate) FILTER (WHERE redelivered), 0)"
)
NAMES = (
    *("total_tasks", "calls", "total_tokens", "input_tokens", "output_tokens", "unpriced_tokens", "total_cost"),
    *("total_latency_ms", "errors"),
)


def sums_of(totals: Any) -> tuple[Any, ...]:
    return (*(totals[name] for name in NAMES), totals["waste"]["total_cost"], totals["redelivered"]["total_cost"])


@asking
@given(QUESTIONS)
def test_a_summary_is_the_sum_of_the_rows(client: FlaskClient, filled_url: str, question: Question) -> None:
    given_ = parameters(question)

    answer = ask(client, "/metrics/summary", given_)

    (expected,) = Rows(filled_url, given_, answer["since"], answer["until"]).select(SUMS)
    assert sums_of(answer["totals"]) == tuple(expected)
    if question[1]:
        since, until = (datetime.fromisoformat(answer[name]) for name in ("since", "until"))
        assert (since, until) == (start_of("quarter", question[1][0]), start_of("quarter", until)), "full quarters"
        assert timedelta(0) <= until - question[1][1] < timedelta(minutes=15)
        (before,) = Rows(filled_url, given_, (since - (until - since)).isoformat(), since.isoformat()).select(SUMS)
        assert sums_of(answer["previous"]) == tuple(before)
        for name, place in {"total_tasks": 0, "total_tokens": 2, "total_cost": 6, "waste_cost": 9}.items():
            more = round(Decimal(expected[place]) / before[place] - 1, 6) if before[place] else None
            assert answer["change"][name] == more


@asking
@given(QUESTIONS)
def test_percentiles_are_within_five_percent(client: FlaskClient, filled_url: str, question: Question) -> None:
    given_ = parameters(question)

    answer = ask(client, "/metrics/summary", given_)

    percentiles = ", ".join(f"percentile_disc({part}) WITHIN GROUP (ORDER BY latency_ms)" for part in (0.5, 0.95, 0.99))
    (exact,) = Rows(filled_url, given_, answer["since"], answer["until"]).select(percentiles, "AND executions = 1")
    for name, value in zip(("p50_latency_ms", "p95_latency_ms", "p99_latency_ms"), exact, strict=True):
        assert (answer["totals"][name] is None) == (value is None)
        assert value is None or float(answer["totals"][name]) == pytest.approx(float(value), rel=0.05)


@asking
@given(QUESTIONS, st.sampled_from(["tasks", "models"]))
def test_the_lines_are_the_sums_of_their_rows(
    client: FlaskClient,
    filled_url: str,
    question: Question,
    of: str,
) -> None:
    given_ = parameters(question)
    key, column = {"tasks": ("task_name", "task_name"), "models": ("model", "model_used")}[of]

    answer = ask(client, f"/metrics/{of}", given_)

    rows = Rows(filled_url, given_, answer["since"], answer["until"])
    expected = rows.select(f"{column}, {SUMS}", f"GROUP BY {column}")
    assert {line[key]: sums_of(line["totals"]) for line in answer[of]} == {row[0]: tuple(row[1:]) for row in expected}
    costs = [line["totals"]["total_cost"] for line in answer[of]]
    assert costs == sorted(costs, reverse=True)


SERIES = st.fixed_dictionaries(
    {
        "measure": st.sampled_from(["cost", "tokens", "tasks", "errors", "waste", "calls", "unpriced_tokens"]),
        "interval": st.sampled_from(["15m", "1h", "1d"]),
        "tz": st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kathmandu", "Australia/Lord_Howe"]),
        "series": st.sampled_from("123"),
    },
    optional={"by": st.sampled_from(["task", "model", "provider", "status"])},
)


@asking
@given(QUESTIONS, SERIES)
def test_a_series_adds_up_to_the_rows(
    client: FlaskClient,
    filled_url: str,
    question: Question,
    series: dict[str, str],
) -> None:
    period = question[1] or (history.BEGIN, history.END)
    given_ = parameters((question[0], period))

    answer = ask(client, "/metrics/timeseries", [*given_, *series.items()])

    measure = series["measure"]
    expression = {
        "cost": "cost_estimate",
        "tokens": "token_count",
        "tasks": "executions",
        "errors": "CASE WHEN status IN ('failure', 'timeout', 'lost', 'rejected') THEN executions ELSE 0 END",
        "waste": "CASE WHEN status NOT IN ('success', 'ignored') THEN cost_estimate ELSE 0 END",
    }.get(measure, measure)
    times = answer["times"]
    since, until = (datetime.fromisoformat(answer[name]) for name in ("since", "until"))
    assert since <= period[0] < period[1] <= until
    rows = Rows(filled_url, given_, answer["since"], answer["until"]).select(f"created_at, {expression}")
    points = [datetime.fromisoformat(time) for time in times]
    expected = [Decimal(0)] * len(points)
    for ended_at, value in rows:
        expected[sum(point <= ended_at for point in points) - 1] += value
    lines = [*answer["series"], *([answer["other"]] if answer["other"] else [])]
    assert len(answer["series"]) <= int(series["series"])
    assert [sum(one["values"][number] for one in lines) for number in range(len(points))] == expected


@pytest.mark.parametrize("measure", ["cost", "waste"])
def test_beside_money_is_how_much_of_it_is_known(client: FlaskClient, filled_url: str, measure: str) -> None:
    asked = [("measure", measure), ("interval", "1d"), ("since", "2025-10-24T00:00:00Z")]
    asked += [("until", "2025-10-26T00:00:00Z"), ("by", "status"), ("status", "success"), ("status", "failure")]

    answer = ask(client, "/metrics/timeseries", asked)

    rows = Rows(filled_url, [], "2025-10-25T00:00:00Z", "2025-10-26T00:00:00Z")
    sums = rows.select("status, sum(unpriced_tokens), sum(token_count)", "GROUP BY 1")
    of_status = {status: (unpriced, tokens) for status, unpriced, tokens in sums}
    if measure == "waste":
        of_status["success"] = (0, 0)
    assert {one["name"] for one in answer["series"]} == {"success", "failure"}
    for one in answer["series"]:
        unpriced, tokens = of_status[one["name"]]
        assert one["unpriced_tokens"] == [0, unpriced]
        assert one["priced_share"] == [None, Decimal((tokens - unpriced) * 10**6 // tokens) / 10**6 if tokens else None]


def test_every_kind_of_question_is_answered_on_each_postgresql(each_database_url: str) -> None:
    """Sums, rows by job and by tag, histograms, the list of jobs and a tree."""
    write(each_database_url, *history.history(5, 60))
    client = create_app(each_database_url).test_client()
    period = [("since", history.BEGIN.isoformat()), ("until", history.END.isoformat())]

    for filters in ([], [("job", "nightly")], [("tag", "team:search")]):
        summary = ask(client, "/metrics/summary", [*filters, *period])
        where = Rows(each_database_url, filters, summary["since"], summary["until"])
        assert sums_of(summary["totals"]) == tuple(where.select(SUMS)[0])
        for measure in ("cost", "latency_p95"):
            series = [("measure", measure), ("by", "provider"), ("tz", "Asia/Kathmandu")]
            assert ask(client, "/metrics/timeseries", [*filters, *period, *series])["series"]
    assert len(ask(client, "/metrics/jobs", [("prefix", "chat/"), ("sort", "cost")])["jobs"]) == 2
    assert ask(client, "/metrics/jobs/nightly/tree", [])["nodes"]


def test_a_local_day_of_25_hours_is_one_point(client: FlaskClient) -> None:
    answer = ask(
        client,
        "/metrics/timeseries",
        [
            ("measure", "tasks"),
            ("interval", "1d"),
            ("tz", "Europe/Madrid"),
            ("since", "2025-10-25T12:00:00+02:00"),
            ("until", "2025-10-27T00:00:00+01:00"),
        ],
    )

    assert answer["times"] == ["2025-10-24T22:00:00Z", "2025-10-25T22:00:00Z"]
    assert answer["until"] == "2025-10-26T23:00:00Z"


def test_both_hours_that_a_clock_shows_twice_are_points(client: FlaskClient) -> None:
    answer = ask(
        client,
        "/metrics/timeseries",
        [
            ("measure", "tasks"),
            ("tz", "Europe/Madrid"),
            ("since", "2025-10-26T00:00:00Z"),
            ("until", "2025-10-26T02:00:00Z"),
        ],
    )

    assert answer["times"] == ["2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z"]


@pytest.mark.parametrize("measure", ["latency_p50", "latency_p95", "latency_p99", "latency_avg", "error_share"])
def test_what_is_not_known_where_nothing_ran_is_null(client: FlaskClient, filled_url: str, measure: str) -> None:
    """The whole time as one day, and the day before, on which nothing ran."""
    since, until = "2025-10-24T00:00:00Z", "2025-10-28T00:00:00Z"
    asked = [("measure", measure), ("interval", "1d"), ("since", since), ("until", until)]

    values = ask(client, "/metrics/timeseries", asked)["series"][0]["values"]

    rows = Rows(filled_url, [], "2025-10-25T00:00:00Z", "2025-10-26T00:00:00Z")
    errors = "avg(CAST(status IN ('failure', 'timeout', 'lost', 'rejected') AS int))"
    exact = {"latency_avg": "avg(latency_ms)", "error_share": errors}.get(
        measure, f"percentile_disc(0.{measure[-2:]}) WITHIN GROUP (ORDER BY latency_ms)"
    )
    ((expected,),) = rows.select(exact, "AND executions = 1")
    assert values[0] is None
    assert float(values[1]) == pytest.approx(float(expected), rel=0.05 if "_p" in measure else 1e-9)


@pytest.mark.parametrize("sort", ["last_updated", "cost", "tasks"])
def test_pages_after_a_cursor_are_the_whole_list(client: FlaskClient, sort: str) -> None:
    whole = ask(client, "/metrics/jobs", [("sort", sort)])["jobs"]
    pages, cursor = [], ""
    while cursor is not None:
        page = ask(client, "/metrics/jobs", [("sort", sort), ("limit", "1"), *([("cursor", cursor)] if cursor else [])])
        pages += page["jobs"]
        cursor = page["next_cursor"]

    key = {"last_updated": "last_updated", "cost": "total_cost", "tasks": "task_count"}[sort]
    assert pages == whole == sorted(whole, key=lambda job: (job[key], job["job_id"]), reverse=True)
    assert len(whole) == len(history.JOBS)


def test_jobs_are_found_by_how_their_id_begins_and_when_they_were_updated(client: FlaskClient) -> None:
    jobs = ask(client, "/metrics/jobs", [])["jobs"]
    newest = jobs[0]["last_updated"]

    assert {job["job_id"] for job in ask(client, "/metrics/jobs", [("prefix", "chat/")])["jobs"]} == {
        "chat/1",
        "chat/2",
    }
    assert ask(client, "/metrics/jobs", [("prefix", "chat_")])["jobs"] == []
    assert ask(client, "/metrics/jobs", [("since", newest)])["jobs"] == jobs[:1]
    assert ask(client, "/metrics/jobs", [("until", newest)])["jobs"] == jobs[1:]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/metrics/summary?since=yesterday", "since must be a time with zone such as "),
        ("/metrics/summary?since=2025-02-30T00:00:00Z", "since must be a time that exists"),
        ("/metrics/summary?since=2025-02-03T00:00:00", "since must be a time with zone such as "),
        ("/metrics/summary?since=1d&until=2d", "until must be after since"),
        ("/metrics/summary?status=broken", "status must be one of success, "),
        ("/metrics/summary?tag=team", "tag must be written NAME:VALUE"),
        ("/metrics/summary?tag=a:1&tag=a:2", "tag was given more than once"),
        ("/metrics/summary?job=a%00b", "job must be a text"),
        ("/metrics/timeseries", "Missing parameter: measure"),
        ("/metrics/timeseries?measure=joy", "measure must be one of cost, "),
        ("/metrics/timeseries?measure=cost&tz=Mars", "tz must be a time zone"),
        ("/metrics/timeseries?measure=cost&since=2025-01-01T00:00:00Z&interval=15m", "that is more than 3,000 points"),
        ("/metrics/timeseries?measure=cost&since=1970-01-01T00:00:00Z", "that is more than 3,000 points"),
        ("/metrics/summary?since=0001-01-01T00:00:00Z", "since must be a time that exists, in the years 1970 to 9998"),
        ("/metrics/summary?since=90000w", "since must be a time that exists, in the years 1970 to 9998"),
        ("/metrics/jobs?cursor=abc", "cursor must be the next_cursor"),
        ("/metrics/jobs?cursor=%FF", "cursor must be the next_cursor"),
    ],
)
def test_what_is_wrong_is_named(client: FlaskClient, path: str, said: str) -> None:
    status, body, _ = get(client, path)

    assert status == 400
    assert body["error"].startswith(said)


def test_a_cursor_of_another_order_is_refused(client: FlaskClient) -> None:
    cursor = ask(client, "/metrics/jobs", [("limit", "1")])["next_cursor"]

    assert get(client, f"/metrics/jobs?sort=cost&cursor={cursor}").status == 400


def test_a_period_that_is_not_over_is_compared_by_the_hour(database_url: str) -> None:
    """Two tasks in each of the two hours before, and two since: since the beginning of the last full hour."""
    since = start_of("quarter", datetime.now(UTC) - timedelta(hours=1))
    times = [since - timedelta(minutes=minutes) for minutes in (100, 80, 40, 20)] + [since, since]
    write(database_url, *(execution(ended_at_us=to_us(time)) for time in times))
    asked = [("since", since.isoformat()), ("until", (since + timedelta(hours=2)).isoformat())]

    answer = ask(create_app(database_url).test_client(), "/metrics/summary", asked)

    assert (answer["totals"]["total_tasks"], answer["previous"]["total_tasks"]) == (2, 4)
    for name in ("total_tasks", "total_tokens", "total_cost"):
        assert float(answer["change"][name]) == pytest.approx(float(answer["tasks_per_hour"]) / 2 - 1, abs=1e-5)
    assert answer["change"]["avg_latency_ms"] == answer["change"]["p95_latency_ms"] == 0
    assert (answer["change"]["error_share"], answer["change"]["waste_cost"]) == (None, None)


def test_a_period_that_is_yet_to_come_has_no_rates(client: FlaskClient) -> None:
    answer = ask(client, "/metrics/summary", [("since", "9000-01-01T00:00:00Z"), ("until", "9001-01-01T00:00:00Z")])

    assert (answer["tasks_per_hour"], answer["cost_per_hour"], answer["change"]) == (None, None, None)
    assert answer["previous"]["total_tasks"] == 0


def test_a_period_without_an_end_goes_on_until_now(client: FlaskClient) -> None:
    answer = ask(client, "/metrics/summary", [("since", "24h")])

    assert answer["until"] is None
    assert answer["previous"]["total_tasks"] == 0
    assert (answer["tasks_per_hour"], answer["cost_per_hour"]) == (0, 0)
    assert answer["totals"]["priced_share"] is None
    assert Selection().before() is None
