"""Every command that reports something does it as one JSON object with exact numbers, too."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner

from aurea_celery.cli import aurea
from tests.support.recorded import execution, model_call, write
from tests.unit.test_docs import commands_of

WITHOUT = {"serve", "writer", "export"}
"""Commands that serve, or write rows and nothing about them."""

DO = {"set", "remove", "import", "refresh", "upgrade", "rebuild", "reader"}
"""Commands that do one thing, and say that it is done."""


def ask(url: str, *options: str) -> tuple[int, Any]:
    ended = CliRunner(env={"DATABASE_URL": url}).invoke(aurea, [*options, "--json"])
    return ended.exit_code, json.loads(ended.stdout, parse_float=Decimal)


def test_every_command_that_reports_has_it() -> None:
    for path, command in commands_of(aurea).items():
        has_json = any("--json" in one.opts for one in command.params)
        assert has_json is (path.split()[-1] not in WITHOUT | DO), path


@pytest.fixture
def url(database_url: str) -> str:
    write(database_url, execution("a", "t", model_call("house", 1_000_000)))
    runner = CliRunner(env={"DATABASE_URL": database_url})
    for command in (
        ("prices", "set", "house", "--input", "0.1", "--output", "0.3"),
        ("budget", "set", "--usd", "12.5", "--on-exceed", "block"),
    ):
        assert runner.invoke(aurea, command).exit_code == 0
    return database_url


def test_prices(url: str) -> None:
    status, listed = ask(url, "prices", "list")
    assert (status, listed.keys()) == (0, {"prices", "list_prices"})
    (price,) = listed["prices"]
    assert (price["model"], price["input_usd_per_million"]) == ("house", Decimal("0.1"))
    assert listed["list_prices"].keys() == {"edition", "age_days"}

    status, checked = ask(url, "prices", "check", "house")
    assert (status, checked["model"], checked["prices"][0]["source"]) == (0, "house", "own")
    assert checked["prices"][0]["usd_per_million_tokens"]["input"] == Decimal("0.1")
    assert ask(url, "prices", "check", "nobody-knows")[0] == 1


def test_budgets(url: str) -> None:
    status, found = ask(url, "budget", "list")

    assert status == 0
    (budget,) = found["budgets"]
    assert (budget["key"], budget["usd"]) == ({"job": "", "task": "", "period": "day"}, Decimal("12.5"))


def test_reprice(url: str) -> None:
    status, found = ask(url, "reprice", "--dry-run", "--from", "7d", "--to", "2100-01-01")

    assert (status, found["dry_run"], found["rows"]) == (0, True, 1)
    assert {"changed", "old_usd", "new_usd", "difference_usd", "newly_priced", "unpriced_tokens"} <= found.keys()
    assert ask(url, "reprice", "--dry-run", "--to", "24h")[1]["rows"] == 0


def test_database(url: str) -> None:
    status, found = ask(url, "db", "check")
    assert (status, found["is_good"], found["table_differences"]) == (0, True, [])

    status, found = ask(url, "db", "maintain")
    assert (status, found.keys()) == (0, {"made", "moved", "left", "condensed"})

    status, found = ask(url, "prune", "--older-than", "90d", "--dry-run")
    assert (status, found["dry_run"], found["rows"], found["dropped"]) == (0, True, 0, [])


def test_tokens(url: str) -> None:
    status, found = ask(url, "token", "--scope", "write")

    assert (status, found["scope"], found["entry"].startswith("write:sha256:")) == (0, "write", True)
