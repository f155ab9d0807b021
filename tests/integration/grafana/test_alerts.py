"""The alert rules: silent on an empty database and where all is well, and each fires for what it is named after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from aurea_celery.clock import to_us
from aurea_celery.events import Status, TaskEvent
from aurea_celery.storage.budgets import BudgetKey, set_budget
from tests.support.databases import connected
from tests.support.grafana import RULES, rule_sql
from tests.support.grafana_databases import allow_reading, reading
from tests.support.recorded import execution, make_old, model_call, source, write

pytestmark = pytest.mark.clock

NUMBERS, TEXTS = {20, 701, 1700}, {25}
UIDS = [rule["uid"] for rule in RULES]


@pytest.fixture
def alerts_url(each_database_url: str) -> str:
    allow_reading(each_database_url)
    return each_database_url


def evaluate(url: str, rule: dict[str, Any]) -> dict[tuple[str, ...], bool]:
    """Whether each alert of a rule fires, by its labels, as Grafana sees it."""
    with reading(url) as cursor:
        cursor.execute(rule_sql(rule))
        columns, rows = cursor.description, cursor.fetchall()
    types = [column.type_code for column in columns]
    assert sum(kind in NUMBERS for kind in types) == 1, "one number"
    assert all(kind in NUMBERS | TEXTS for kind in types), "the rest are texts"
    (threshold,) = rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"]
    found = [([value for value, kind in zip(row, types, strict=True) if kind in TEXTS], row) for row in rows]
    alerts = {tuple(labels): float(row[-1]) > threshold for labels, row in found}
    assert len(alerts) == len(rows), "no two alerts have the same labels"
    return alerts


def firing(url: str) -> set[str]:
    """The rules that fire."""
    return {rule["uid"] for rule in RULES if any(evaluate(url, rule).values())}


def ended(hours_ago: float, usd: str = "1", status: Status = "success", **more: Any) -> TaskEvent:
    at = to_us(datetime.now(UTC) - timedelta(hours=hours_ago))
    return replace(execution("job", "shop.pay", model_call("own", 10, usd), ended_at_us=at, **more), status=status)


def spend_more_than_yesterday(url: str) -> None:
    write(url, ended(30, "1"), ended(1, "2.5"))


def use_up_a_budget(url: str) -> None:
    with connected(url) as connection:
        set_budget(connection, BudgetKey(job="", task="", period="month"), Decimal(1))
    write(url, ended(0, "0.95"))


def fail_often(url: str) -> None:
    write(url, *(ended(0.01, status="timeout" if number < 3 else "success") for number in range(20)))


def be_slow(url: str) -> None:
    write(url, *(ended(0.01, latency_ms=90_000 if number < 3 else 10) for number in range(20)))


def use_a_model_without_a_price(url: str) -> None:
    write(url, execution("job", "shop.pay", model_call("house-model", 10)))


def leave_something_behind(url: str) -> None:
    write(url, ended(0), sender=source(3))
    make_old(url, "6 minutes")


def fall_silent(url: str) -> None:
    write(url, ended(0), sender=source(3))
    make_old(url, "20 minutes")


def write_nothing_for_a_day(url: str) -> None:
    write(url, ended(0))
    make_old(url, "25 hours")


def reject(url: str) -> None:
    from aurea_celery.price_lists import pricing_of
    from aurea_celery.storage.write import Writer

    writer = Writer(url, pricing_of)
    writer.write("no batch")
    writer.close()


def drop(url: str) -> None:
    write(url, ended(0), sender=source(3, outbox_full=2))


CASES: dict[str, Callable[[str], None]] = {
    "aurea-spend-yesterday": spend_more_than_yesterday,
    "aurea-budget": use_up_a_budget,
    "aurea-failures": fail_often,
    "aurea-latency": be_slow,
    "aurea-unpriced": use_a_model_without_a_price,
    "aurea-backlog": leave_something_behind,
    "aurea-silence": fall_silent,
    "aurea-nothing-written": write_nothing_for_a_day,
    "aurea-rejected": reject,
    "aurea-dropped": drop,
}
ALSO = {"aurea-silence": {"aurea-backlog"}}
"""What another rule says of the same."""


def test_nothing_fires_on_an_empty_database(alerts_url: str) -> None:
    assert [evaluate(alerts_url, rule) for rule in RULES] == [{}] * len(RULES)


def test_nothing_fires_where_all_is_well(alerts_url: str) -> None:
    with connected(alerts_url) as connection:
        set_budget(connection, BudgetKey(job="", task="", period="day"), Decimal(100))
        set_budget(connection, BudgetKey(job="*", task="shop.*", period="job"), Decimal(1000))
    write(alerts_url, *(ended(hours) for hours in range(48) for _ in range(2)))
    assert firing(alerts_url) == set()


@pytest.mark.parametrize("uid", UIDS)
def test_a_rule_fires_for_what_it_is_named_after(database_url: str, uid: str) -> None:
    allow_reading(database_url)
    CASES[uid](database_url)
    assert firing(database_url) == {uid} | ALSO.get(uid, set())
