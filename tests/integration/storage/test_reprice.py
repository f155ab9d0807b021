"""Repricing: idempotent, there and back, beside running writers, and the rollups move with the rows."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.events import ModelCall, TaskEvent, Usage
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import queries
from aurea_celery.storage.prices import remove_prices, set_prices
from aurea_celery.storage.reprice import Repricing, Selection, reprice
from aurea_celery.storage.write import Writer
from tests.support.databases import Databases, connected
from tests.support.events import events, make_event, make_source
from tests.support.prices import own_price

pytestmark = pytest.mark.clock("a-day")

EVERYTHING = Selection()


def run(url: str, selection: Selection = EVERYTHING, *, dry_run: bool = False) -> Repricing:
    return reprice(url, pricing_of, selection, dry_run=dry_run)


def write(url: str, *written: TaskEvent) -> None:
    writer = Writer(url, pricing_of)
    writer.write_events(make_source(captured=len(written)), list(written))
    writer.close()


def set_price(url: str, model: str, **rates: str) -> None:
    with connected(url) as connection:
        set_prices(connection, [own_price(model, **rates)])


def remove_price(url: str, model: str) -> None:
    with connected(url) as connection:
        remove_prices(connection, model, None, None)


def money(url: str) -> list[tuple[Any, ...]]:
    """All that a price decides, of every row."""
    with connected(url) as connection:
        return [
            tuple(row)
            for row in connection.execute(
                sa.text(
                    "SELECT event_id, seq, cost_estimate, cost_status, cost_source, cost_problem, price_version,"
                    " unpriced_tokens FROM metrics ORDER BY event_id, seq, created_at"
                )
            )
        ]


def check_rollups(url: str) -> None:
    with connected(url) as connection:
        assert queries.rollup_differences(connection) == {}


def call(model: str, tokens: int = 1_000, **rest: Any) -> ModelCall:
    return ModelCall(usage=Usage(input_tokens=tokens, output_tokens=10), model=model, **rest)


@pytest.fixture
def house(database_url: str) -> str:
    """A database with rows of a model nobody knows, of one with a list price, and of one with a cost of its own."""
    write(
        database_url,
        make_event(job_id="a", calls=(call("house"), call("house", 5_000), call("gpt-4"))),
        make_event(job_id="b", calls=(call("house"),)),
        make_event(job_id="b", calls=(call("house", cost_usd=Decimal("0.7")),)),
        make_event(job_id="b", calls=(call("house", cost_problem="it raised"),)),
        make_event(job_id="c"),
    )
    return database_url


def test_a_price_that_comes_later_prices_what_had_none(house: str) -> None:
    before = money(house)
    set_price(house, "house", input="2", output="10")
    found = run(house, dry_run=True)
    assert (found.rows, found.changed, found.newly_priced) == (5, 2, 2)
    assert found.difference_usd == Decimal("0.0143")
    assert money(house) == before, "a dry run changed something"

    assert run(house) == found
    with connected(house) as connection:
        rows = connection.execute(
            sa.text(
                "SELECT job_id, model_used, calls, cost_estimate, first_cost_estimate, first_cost_source, cost_source"
                " FROM metrics WHERE repriced_at IS NOT NULL ORDER BY job_id"
            )
        ).all()
    assert [tuple(row) for row in rows] == [
        ("a", "house", 2, Decimal("0.0122"), Decimal(0), None, "own"),
        ("b", "house", 1, Decimal("0.0021"), Decimal(0), None, "own"),
    ]
    check_rollups(house)


def test_a_second_time_changes_nothing(house: str) -> None:
    set_price(house, "house", input="2", output="10")
    run(house)
    once = money(house)
    again = run(house)

    assert (again.changed, again.difference_usd) == (0, Decimal(0))
    assert money(house) == once


def test_there_and_back_restores_every_figure(house: str) -> None:
    before = money(house)
    set_price(house, "house", input="2", output="10")
    set_price(house, "gpt-4", input="1", output="1")
    assert run(house).changed == 3
    assert money(house) != before
    remove_price(house, "house")
    remove_price(house, "gpt-4")
    run(house)

    assert money(house) == before
    check_rollups(house)
    with connected(house) as connection:
        first = connection.scalar(sa.text("SELECT first_cost_source FROM metrics WHERE model_used = 'gpt-4'"))
    assert first == "genai-prices", "the first cost and its source are kept"


@pytest.mark.parametrize(
    ("selection", "changed"),
    [
        (Selection(job_id="b"), 1),
        (Selection(model="gpt-4"), 0),
        (Selection(since=datetime(2000, 1, 1, tzinfo=UTC)), 2),
        (Selection(until=datetime(2000, 1, 1, tzinfo=UTC)), 0),
        (Selection(job_id="a", model="house"), 1),
    ],
)
def test_only_what_is_selected(house: str, selection: Selection, changed: int) -> None:
    set_price(house, "house", input="2", output="10")

    assert run(house, selection).changed == changed
    check_rollups(house)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events(), min_size=1, max_size=6, unique_by=lambda event: event.event_id))
def test_what_was_just_written_does_not_change(databases: Databases, written: list[TaskEvent]) -> None:
    """A row holds all that its price depends on, whatever calls it is made of."""
    with databases.migrated() as url:
        write(url, *written)
        before = money(url)

        assert run(url).changed == 0
        assert money(url) == before


def test_beside_two_writers(database_url: str) -> None:
    write(database_url, *(make_event(job_id=f"old {number % 5}", calls=(call("house"),)) for number in range(3_000)))
    set_price(database_url, "house", input="3")
    stop = threading.Event()
    failed: list[BaseException] = []

    def keep_writing(name: str) -> None:
        try:
            while not stop.is_set():
                write(database_url, *(make_event(job_id=f"{name} {n % 3}", calls=(call("house"),)) for n in range(50)))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_writing, args=(name,)) for name in ("old", "new")]
    for thread in threads:
        thread.start()
    found = run(database_url)
    stop.set()
    for thread in threads:
        thread.join()

    assert not failed
    assert found.changed == 3_000
    check_rollups(database_url)


def test_it_ends_though_rows_are_written_faster(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurea_celery.storage.reprice.LOOK_SECONDS", 0)
    write(database_url, make_event(calls=(call("house"),)))
    set_price(database_url, "house", input="3", output="3")

    def keep_ahead(_: Repricing) -> None:
        write(database_url, make_event(calls=(call("house"),)))

    assert reprice(database_url, pricing_of, EVERYTHING, progress=keep_ahead).changed == 1
    check_rollups(database_url)
