"""Hours and days that are condensed: answers stay what they are, whatever comes late, and are read from few rows."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from aurea_celery.cli import aurea
from aurea_celery.clock import to_us
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.events import ModelCall, TaskEvent, Usage
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import chores, condensed, selection, upkeep
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.prices import set_prices
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.reprice import Selection as Repriced
from aurea_celery.storage.reprice import reprice
from aurea_celery.storage.selection import Selection
from aurea_celery.storage.spans import Span
from aurea_celery.storage.totals import read_totals
from aurea_celery.storage.write import Writer
from tests.support.clock import stop_clock
from tests.support.databases import connected
from tests.support.events import make_source
from tests.support.prices import own_price
from tests.support.recorded import execution, model_call, write

pytestmark = pytest.mark.clock("400-days")

NOW = datetime(2026, 9, 30, 12, 20, tzinfo=UTC)
TODAY, HOUR, DAY = datetime(2026, 9, 30, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)
MONTH = Selection(since=TODAY - 30 * DAY, until=TODAY)


@pytest.fixture(autouse=True)
def _time_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, NOW)


def ended(ago: timedelta, task_name: str = "shop.ask") -> TaskEvent:
    return execution("job", task_name, model_call(cost_usd="0.1"), ended_at_us=to_us(NOW - ago))


def condense(url: str, now: datetime = NOW) -> int:
    engine = create_engine(url)
    try:
        return condensed.condense(engine, now)
    finally:
        engine.dispose()


def starts(url: str, span: Span) -> list[datetime]:
    query = f"SELECT starts_at FROM {condensed.TABLES[span]} WHERE dimension = 'all' ORDER BY 1"
    with connected(url) as connection:
        return list(connection.scalars(sa.text(query)))


def executions(url: str, asked: Selection = MONTH) -> int:
    with connected(url) as connection:
        return read_totals(connection, asked).total_tasks


def differences(url: str) -> dict[str, int]:
    with connected(url) as connection:
        return rollup_differences(connection)


def test_hours_that_are_over_and_days_without_another_one_are_condensed(each_database_url: str) -> None:
    write(each_database_url, *(ended(ago) for ago in (timedelta(0), HOUR, 2 * HOUR, DAY, DAY + HOUR)))

    assert condense(each_database_url) == 4
    assert condense(each_database_url) == 0

    hours = [TODAY + number * HOUR for number in (-13, -12, 10, 11)]
    assert starts(each_database_url, "hour") == hours
    assert starts(each_database_url, "day") == [TODAY - DAY], "this day's last hour is not over"
    assert differences(each_database_url) == {}


def test_what_comes_late_is_counted_at_once_and_condensed_again(database_url: str) -> None:
    write(database_url, ended(DAY), ended(2 * DAY))
    condense(database_url)

    write(database_url, ended(2 * DAY))

    assert executions(database_url) == 3
    assert differences(database_url) == {}
    assert condense(database_url) == 1
    assert executions(database_url) == 3
    assert differences(database_url) == {}


def test_a_price_that_changes_later_changes_what_was_condensed(database_url: str) -> None:
    call = ModelCall(usage=Usage(input_tokens=1_000_000), model="house-model")
    write(database_url, execution("job", "shop.ask", call, ended_at_us=to_us(NOW - DAY)))
    condense(database_url)
    with connected(database_url) as connection:
        set_prices(connection, [own_price("house-model", input="3")])

    reprice(database_url, pricing_of, Repriced())

    for _ in range(2):
        with connected(database_url) as connection:
            assert read_totals(connection, MONTH).total_cost == 3
        assert differences(database_url) == {}
        condense(database_url)


def test_a_month_is_read_from_its_days(database_url: str) -> None:
    """Without the rows per quarter, the answer is the same."""
    write(database_url, *(ended(number * 7 * HOUR + HOUR, f"task {number % 3}") for number in range(100)))
    condense(database_url)
    with connected(database_url) as connection:
        before = [read_totals(connection, MONTH), *named(connection)]
        connection.execute(sa.text("TRUNCATE metrics_15m, metrics_latency_15m"))

        after = [read_totals(connection, MONTH), *named(connection)]

    assert before == after
    assert before[0].total_tasks > 80
    assert before[0].p95_latency_ms


def named(connection: sa.Connection) -> list[Any]:
    relations = [
        selection.sums(connection, MONTH, "task"),
        selection.latencies(connection, MONTH, "model", points=[TODAY - 30 * DAY, TODAY - HOUR]),
    ]
    counted = "SELECT count(*), sum(executions) FROM "
    return [tuple(connection.execute(sa.text(counted + one.sql), one.values).one()) for one in relations]


def test_hours_are_forgotten_and_days_are_not(database_url: str) -> None:
    write(database_url, ended(DAY), ended(200 * DAY), ended(99 * DAY))
    assert condense(database_url) == 3
    assert starts(database_url, "hour") == [NOW.replace(minute=0) - 99 * DAY, NOW.replace(minute=0) - DAY]
    assert len(starts(database_url, "day")) == 3

    write(database_url, ended(timedelta(0)))
    assert condense(database_url, NOW + 10 * DAY) == 1

    assert starts(database_url, "hour") == [NOW.replace(minute=0) - DAY, NOW.replace(minute=0)]
    assert len(starts(database_url, "day")) == 4
    assert executions(database_url, Selection(since=NOW - 300 * DAY)) == 4


def test_a_writer_condenses_now_and_then(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "CONDENSE_EVERY_SECONDS", 0.0)
    writer = Writer(database_url, pricing_of)

    for number in range(3):
        writer.write_events(make_source(captured=1), [ended(number * HOUR)])
    writer.close()

    assert starts(database_url, "hour") == [NOW.replace(minute=0) - HOUR]


def test_beside_writers_nothing_is_lost(each_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers that always come late, and two that condense: at every look the sums of both agree."""
    monkeypatch.setattr(chores, "CONDENSE_EVERY_SECONDS", 3_600.0)
    url, stop = each_database_url, threading.Event()

    def write_late_ones() -> int:
        writer, number = Writer(url, pricing_of), 0
        while not stop.is_set():
            writer.write_events(make_source(captured=2), [ended(number % 5 * HOUR + HOUR), ended(DAY)])
            number += 1
        writer.close()
        return number * 2

    def condense_and_look() -> int:
        hours = 0
        for _ in range(60):
            hours += condense(url)
            with connected(url) as connection:
                assert not any(condensed.count_differences(connection, NOW).values())
        return hours

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write_late_ones) for _ in range(2)]
        condensing = [pool.submit(condense_and_look) for _ in range(2)]
        try:
            hours = sum(future.result() for future in condensing)
        finally:
            stop.set()
        written = sum(future.result() for future in writing)

    assert hours > 60
    assert executions(url, Selection(since=TODAY - 2 * DAY)) == written
    assert differences(url) == {}
    condense(url)
    assert executions(url, Selection(since=TODAY - 2 * DAY)) == written
    assert differences(url) == {}


def test_an_hour_whose_sums_do_not_fit_stays_in_quarters(database_url: str) -> None:
    most = 2**62
    for minutes in (0, 20):
        with connected(database_url) as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO metrics_15m SELECT CAST(:at AS timestamptz), 'task', '', 'none', 'success',"
                    " :most, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, :at, :at"
                ),
                {"at": NOW - DAY + timedelta(minutes=minutes - 20), "most": most},
            )
            connection.execute(
                sa.text("INSERT INTO metrics_uncondensed VALUES (:hour) ON CONFLICT DO NOTHING"),
                {"hour": (NOW - DAY).replace(minute=0)},
            )
    write(database_url, ended(3 * HOUR))

    assert condense(database_url) == 1

    with connected(database_url) as connection:
        assert read_totals(connection, MONTH).total_tasks == 2 * most


def test_a_sum_that_is_wrong_is_found_and_made_anew(each_database_url: str) -> None:
    write(each_database_url, ended(DAY), ended(40 * DAY))
    condense(each_database_url)
    with connected(each_database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_1h SET cost_estimate = 7 WHERE name = 'shop.ask'"))
        connection.execute(sa.text("UPDATE metrics_1d SET buckets[1] = 1 WHERE name = ''"))
        connection.execute(
            sa.text(
                "INSERT INTO metrics_1d SELECT made.* FROM metrics_1d, jsonb_populate_record(metrics_1d,"
                """ '{"starts_at": "2026-01-01T00:00:00Z"}') AS made LIMIT 1"""
            )
        )

    found = CliRunner(env={"DATABASE_URL": each_database_url}).invoke(aurea, ["db", "check"])
    assert (
        "Sums differ from their rows, 5 of metrics_1d, 2 of metrics_1h; make them anew: aurea db rebuild."
        in found.stdout
    )

    upkeep.rebuild(each_database_url)

    assert differences(each_database_url) == {}
    assert len(starts(each_database_url, "day")) == 2
    assert condense(each_database_url) == 0


def test_who_keeps_the_lock_is_not_waited_for_by_writers(database_url: str) -> None:
    """A transaction that has begun to write keeps an hour from being condensed, and nobody from writing."""
    write(database_url, ended(DAY))
    engine = create_engine(database_url)
    with connected(database_url) as connection:
        connection.execute(sa.text("LOCK TABLE metrics_uncondensed IN ROW SHARE MODE"))
        with pytest.raises(DatabaseUnavailable, match="locks the tables"):
            condensed.condense(engine, NOW, attempts=1)

        write(database_url, ended(2 * DAY))
    engine.dispose()

    assert executions(database_url) == 2
    assert condense(database_url) == 2
