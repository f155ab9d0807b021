"""``aurea report`` at the terminal: one sentence, and a table."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from aurea_celery.cli import aurea
from aurea_celery.clock import now_us
from aurea_celery.events import TaskEvent
from aurea_celery.storage.report import Scope, read_report
from tests.support.databases import connected
from tests.support.recorded import execution, model_call, without_call, write

pytestmark = pytest.mark.clock

Run = Callable[..., str]
PAGE = (Path(__file__).parents[3] / "docs" / "costs.md").read_text()
PICTURE = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)[0]
MORNING_US = 1_764_580_030_000_000  # 2025-12-01T09:07:10Z
DAY_US = 86_400 * 1_000_000


@pytest.fixture
def run(database_url: str) -> Run:
    """Runs the command; what it says. Its status is 0 unless another is expected."""

    def invoke(*options: str, status: int = 0) -> str:
        ended = CliRunner(env={"DATABASE_URL": database_url}).invoke(aurea, ["report", *options])
        assert ended.exit_code == status, ended.output
        return ended.output.rstrip()

    return invoke


def changed(event: TaskEvent, **fields: Any) -> TaskEvent:
    return msgspec.structs.replace(event, **fields)


@pytest.fixture
def shop(database_url: str) -> None:
    """Two jobs of two tasks: some executions failed, one was delivered again, one model has no price."""
    at = {"ended_at_us": MORNING_US}
    summaries = [
        execution("nightly", "shop.summarise", model_call(cost_usd="1.13"), latency_ms=800, **at) for _ in range(10)
    ]
    summaries[0] = changed(summaries[0], status="failure")
    summaries[1] = changed(summaries[1], redelivered=True)
    house = [execution("daily", "shop.embed", model_call("house", 100), latency_ms=5, **at) for _ in range(2)]
    small = execution("daily", "shop.embed", model_call(tokens=1000, cost_usd="0.00123"), latency_ms=5, **at)
    ping = without_call(execution("daily", "shop.ping", latency_ms=1, **at))
    write(database_url, *summaries, *house, small, ping)


@pytest.mark.usefixtures("shop")
def test_by_task_as_the_page_shows_it(run: Run) -> None:
    command, _, picture = PICTURE.partition("\n")

    assert run(*command.removeprefix("$ aurea report ").split()) == picture


@pytest.mark.usefixtures("shop")
def test_by_model(run: Run) -> None:
    lines = run("--by", "model", "--limit", "2").splitlines()

    assert [line.split() for line in lines[3:]] == [
        ["model", "calls", "tokens", "cost", "wasted", "unpriced", "p50", "ms", "p95", "ms"],
        ["gpt-4", "11", "6,000", "$11.30", "$1.13", "-", "830", "830"],
        ["house", "2", "200", "unknown", "-", "200", "4.8", "4.8"],
        ["and", "1", "more;", "see", "--limit"],
        ["all", "3", "13", "6,200", "$11.30", "$1.13", "200", "830", "830"],
    ]


@pytest.mark.usefixtures("shop")
def test_of_a_job(run: Run) -> None:
    lines = run("--job", "daily").splitlines()

    assert lines[0] == (
        "Spent $0.0012 in 4 executions of job daily since 2025-12-01 09:07 UTC, none of it on attempts that came to"
        " nothing; 17 % of the tokens (200) have no price and are not counted in it."
    )
    assert lines[2] == "task        executions  tokens     cost  wasted  unpriced"
    assert len(lines) == 6


def test_of_the_last_days(run: Run, database_url: str) -> None:
    write(
        database_url,
        execution("old", ended_at_us=now_us() - 3 * DAY_US),
        *(execution("both", ended_at_us=now_us() - days * DAY_US) for days in (0, 3)),
        execution("new"),
    )

    assert "Spent $0.06 in 4 executions since" in run("--by", "job")
    lines = run("--by", "job", "--since", "2d").splitlines()
    assert lines[0].startswith("Spent $0.03 in 2 executions since")
    assert [line.split()[:2] for line in lines[3:-1]] == [["both", "1"], ["new", "1"]]
    assert run("--since", "2d").splitlines()[0] == lines[0]
    assert "in 4 executions since" in run("--since", "1w")


def test_where_no_price_is_known_nothing_is_said_to_be_free(run: Run, database_url: str) -> None:
    write(database_url, changed(execution("a", "t", model_call("house", 1234), ended_at_us=MORNING_US), status="lost"))

    lines = run().splitlines()
    assert lines[0] == (
        "Spent an unknown sum in 1 execution since 2025-12-01 09:07 UTC, of which an unknown part on attempts that came"
        " to nothing; none of the 1,234 tokens has a price."
    )
    assert lines[-1].split()[:6] == ["all", "1", "1", "1,234", "unknown", "unknown"]


@pytest.mark.usefixtures("shop")
def test_json_has_the_keys_of_the_api(run: Run) -> None:
    found = json.loads(run("--json", "--limit", "1"), parse_float=Decimal)

    assert found["spent"] == {
        "count": 14,
        "total_tokens": 6200,
        "unpriced_tokens": 200,
        "priced_share": Decimal("0.967741"),
        "total_cost": Decimal("11.30123"),
    }
    assert (found["by"], found["since"], found["line_count"], len(found["lines"])) == ("task", None, 3, 1)
    assert found["lines"][0]["name"] == "shop.summarise"
    assert found["lines"][0]["spent"].keys() == found["redelivered"].keys() == found["spent"].keys()


def test_nothing_yet(run: Run) -> None:
    assert run() == "No executions."
    assert run("--since", "2025-12-01T09:07").startswith("No executions since 2025-12-01 09:00 UTC.")
    assert json.loads(run("--json"))["spent"]["priced_share"] is None
    assert run("--job", "nobody's", status=1).startswith("aurea: nothing is known of job nobody's")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--job", "a", "--since", "7d"), "--job and --since cannot be combined"),
        (("--since", "7 days"), "'7 days' is neither a day"),
        (("--since", "999999w"), "'999999w' is before the calendar begins"),
        (("--by", "week"), "'week' is not one of"),
    ],
)
def test_what_cannot_be_told_is_refused(run: Run, options: tuple[str, ...], sentence: str) -> None:
    assert sentence in run(*options, status=2)


def test_names_stay_in_their_line(run: Run, database_url: str) -> None:
    write(database_url, execution("a\n\x1b[31mb", "t"), execution("c" * 255, "t"))

    lines = run("--by", "job").splitlines()

    assert len(lines) == 6
    assert any(line.startswith("a\\n\\x1b[31mb ") for line in lines)
    assert any(line.startswith("c" * 59 + "… ") for line in lines)


def test_percentiles_are_within_five_percent(database_url: str) -> None:
    chance = random.Random(11)
    latencies = sorted(round(chance.lognormvariate(6, 2)) + 1 for _ in range(400))
    write(database_url, *(execution("j", "t", latency_ms=latency) for latency in latencies))

    with connected(database_url) as connection:
        (line,) = read_report(connection, Scope()).lines

    assert line.p50_latency_ms == pytest.approx(latencies[199], rel=0.05)
    assert line.p95_latency_ms == pytest.approx(latencies[379], rel=0.05)


def test_the_page_names_every_option_and_its_queries_run(database_url: str) -> None:
    options = {option for one in aurea.commands["report"].params for option in one.opts if option.startswith("--")}

    assert {option for option in options if f"`{option}" not in PAGE} == set()
    with connected(database_url) as connection:
        for query in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL):
            assert connection.execute(sa.text(query)).all() == []
