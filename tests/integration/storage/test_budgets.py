"""Budgets in the database: what is spent of them is what their rows cost, whatever happens to the rows."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.budget import BudgetState
from aurea_celery.cli import aurea
from aurea_celery.clock import to_us
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import queries, rollups
from aurea_celery.storage.budgets import BudgetKey, list_budgets, read_states, remove_budget, set_budget
from aurea_celery.storage.prices import set_prices
from aurea_celery.storage.reprice import Selection, reprice
from aurea_celery.storage.write import Writer
from tests.support.databases import connected
from tests.support.recorded import execution, model_call, source, write
from tests.support.servers import wait_until

pytestmark = pytest.mark.clock

NIGHTLY = BudgetKey(job="nightly", task="", period="day")
LIFE = BudgetKey(job="nightly", task="", period="job")
HOUR_SECONDS, TEST_SECONDS = 3600, 30


@pytest.fixture(autouse=True)
def _not_at_midnight() -> None:
    """A day's budget begins anew at midnight, which no test here is about; in every zone that is the end of an hour."""
    wait_until(lambda: time.time() % HOUR_SECONDS < HOUR_SECONDS - TEST_SECONDS, "the next hour")


def spend(url: str, usd: str, job_id: str = "nightly", task_name: str = "shop.pay", at: datetime | None = None) -> None:
    """Write an execution that cost something."""
    ended_at_us = None if at is None else to_us(at)
    write(url, execution(job_id, task_name, model_call("own", 1, usd), ended_at_us=ended_at_us))


def set_one(url: str, key: BudgetKey, usd: str, **changes: str) -> None:
    with connected(url) as connection:
        set_budget(connection, key, Decimal(usd), **changes)  # type: ignore[arg-type]  # words that the tables know


def states(url: str) -> list[BudgetState]:
    with connected(url) as connection:
        return read_states(connection).states


def spent(url: str) -> dict[str, Decimal]:
    """What was spent, by job."""
    with connected(url) as connection:
        rows = connection.execute(sa.text("SELECT job_id, sum(spent_usd) AS usd FROM budget_spend GROUP BY 1"))
        return {row.job_id: row.usd for row in rows}


def test_a_budget_that_is_used_up_is_a_state(each_database_url: str) -> None:
    set_one(each_database_url, NIGHTLY, "1", on_exceed="block")
    spend(each_database_url, "0.4")
    spend(each_database_url, "7", job_id="another")
    assert states(each_database_url) == []

    spend(each_database_url, "0.6")

    (state,) = states(each_database_url)
    assert (state.job_id, state.usd, state.spent_usd, state.on_exceed) == ("nightly", Decimal(1), Decimal(1), "block")
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert state.ends_at_us == to_us(tomorrow)


def test_what_was_spent_before_counts_from_the_start_of_the_period(database_url: str) -> None:
    spend(database_url, "0.4")
    spend(database_url, "3", at=datetime.now(UTC) - timedelta(days=40))
    set_one(database_url, NIGHTLY, "1")
    set_one(database_url, LIFE, "1")

    with connected(database_url) as connection:
        assert {one.key.period: one.spent_usd for one in list_budgets(connection)} == {
            "day": Decimal("0.4"),
            "job": Decimal("3.4"),
        }
        assert queries.rollup_differences(connection) == {}


def test_each_job_of_a_pattern_has_its_own_and_no_job_is_all_together(database_url: str) -> None:
    set_one(database_url, BudgetKey(job="night_%*", task="shop.p*", period="month"), "1")
    set_one(database_url, BudgetKey(job="", task="", period="month"), "9")
    for job_id in ("night_%1", "night_%1", "night_%2", "nightxx1"):
        spend(database_url, "1", job_id=job_id)
    spend(database_url, "1", job_id="night_%2", task_name="blog.pay")

    assert spent(database_url) == {"night_%1": 2, "night_%2": 1, "": 5}


def test_days_are_those_of_the_time_zone(database_url: str) -> None:
    zone = ZoneInfo("Pacific/Kiritimati")
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    spend(database_url, "1", at=midnight - timedelta(seconds=1))
    spend(database_url, "2", at=midnight)
    set_one(database_url, NIGHTLY, "1", time_zone=zone.key)

    (state,) = states(database_url)
    assert state.spent_usd == 2
    ends_at = datetime.fromtimestamp((state.ends_at_us or 0) / 1e6, zone)
    assert (ends_at.hour, ends_at.date()) == (0, midnight.date() + timedelta(days=1))


def test_a_message_that_comes_again_costs_nothing(database_url: str) -> None:
    set_one(database_url, NIGHTLY, "1")
    sender, event = source(1), execution("nightly", "shop.pay", model_call("own", 1, "0.4"))
    for sent in ([event], [event], [event, execution("nightly", "shop.pay", model_call("own", 1, "0.1"))]):
        write(database_url, *sent, sender=sender)

    assert spent(database_url) == {"nightly": Decimal("0.5")}


def test_usage_without_a_price_is_a_state_until_it_is_priced(database_url: str) -> None:
    set_one(database_url, NIGHTLY, "1", on_exceed="block")
    write(database_url, execution("nightly", "shop.pay", model_call("house-model", 1_000_000)))
    (state,) = states(database_url)
    assert (state.unpriced_tokens, state.is_used_up) == (1_000_000, False)
    since = datetime(1970, 1, 1, tzinfo=UTC)
    price = {"model": "house-model", "provider": "", "effective_from": since, "total_usd_per_million": Decimal(3)}
    with connected(database_url) as connection:
        set_prices(connection, [price])

    reprice(database_url, pricing_of, Selection())

    (state,) = states(database_url)
    assert (state.unpriced_tokens, state.spent_usd, state.is_used_up) == (0, Decimal(3), True)
    with connected(database_url) as connection:
        assert queries.rollup_differences(connection) == {}
        rollups.rebuild(connection)
    assert states(database_url) == [state]


def test_a_budget_that_is_set_while_writers_write_misses_nothing(database_url: str) -> None:
    stop = threading.Event()

    def keep_writing() -> None:
        writer = Writer(database_url, pricing_of)
        while not stop.is_set():
            writer.write_events(source(1), [execution("nightly", "shop.pay", model_call("own", 1, "0.1"))])
        writer.close()

    threads = [threading.Thread(target=keep_writing) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            set_one(database_url, NIGHTLY, "1")
            set_one(database_url, LIFE, "1")
            with connected(database_url) as connection:
                assert remove_budget(connection, LIFE)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    with connected(database_url) as connection:
        rows = connection.scalar(sa.text("SELECT sum(cost_estimate) FROM metrics"))
        assert rows > 1
        assert queries.rollup_differences(connection) == {}
    assert spent(database_url) == {"nightly": rows}


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(aurea, ["budget", *arguments], env={"DATABASE_URL": url})


def test_the_commands(database_url: str) -> None:
    assert "aurea budget set" in run(database_url, "list").output
    spend(database_url, "5.25")
    spend(database_url, "1", job_id="nightly-2")

    first = run(database_url, "set", "--job", "nightly", "--usd", "5", "--on-exceed", "block")
    line = "job nightly, per day (UTC): $5.00, then block; spent $5.25, used up"
    assert first.output == f"Set: {line}\n"
    raised = run(database_url, "set", "--job", "nightly", "--usd", "7", "--zone", "Europe/Berlin")
    assert "per day (Europe/Berlin): $7.00, then block" in raised.output, "what is not said stays"
    run(database_url, "set", "--job", "nightly*", "--usd", "5", "--period", "job")
    write(database_url, execution("nightly-2", "shop.pay", model_call("house-model", 1_234)))

    assert run(database_url, "list").output.splitlines()[1] == (
        "each job nightly*, over its life: $5.00, then warn; spent $6.25 in 2 jobs, used up in 1; "
        "not counted, for want of a price: 1,234 tokens (>99 % of all)"
    )
    assert run(database_url, "remove", "--job", "nightly").exit_code == 0
    again = run(database_url, "remove", "--job", "nightly")
    assert (again.exit_code, again.stderr) == (
        1,
        "aurea: there is no such budget: job nightly, per day; see them: aurea budget list\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--usd", "-1"],
        ["--usd", "1e30"],
        ["--usd", "5", "--zone", "Mars/Base"],
        ["--usd", "5", "--zone", "localtime"],
        ["--usd", "5", "--period", "job"],
        ["--usd", "5", "--job", "\udc80"],
        ["--job", "x"],
    ],
)
def test_what_is_no_budget_is_one_sentence(database_url: str, arguments: list[str]) -> None:
    result = run(database_url, "set", *arguments)

    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert states(database_url) == []
