"""The report's tables hold what the API answered."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from worker_example.report import Line, by_job, by_model, by_task, money, pace, table, tables


def part(name: str, value: str, **changes: Any) -> dict[str, Any]:
    sums = {"count": 2, "total_tokens": 100, "unpriced_tokens": 0, "total_cost": Decimal("0.25")}
    return {name: value, **sums, "total_latency_ms": Decimal("6.0"), **changes}


def summary(job_id: str) -> dict[str, Any]:
    return {
        **part("job_id", job_id),
        "total_tasks": 4,
        "waste": {"total_cost": Decimal("0.05"), "by_task": {"embed": {"total_cost": Decimal("0.05")}}},
        "task_breakdown": [part("task_name", "embed"), part("task_name", "classify", total_cost=Decimal(1))],
        "model_usage": [part("model", "none"), part("model", "m", unpriced_tokens=100, total_cost=0)],
    }


def printed(*parts: Any, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    for one in parts:
        console.print(one)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_jobs_lose_their_prefix() -> None:
    assert by_job([summary("demo-1/b"), summary("demo-1/a")], "demo-1/") == {
        name: Line(4, 100, 0, Decimal("0.25"), Decimal("6.0"), Decimal("0.05")) for name in "ab"
    }


def test_tasks_of_all_jobs_are_added_and_the_most_expensive_is_first() -> None:
    lines = by_task([summary("a"), summary("b")])
    assert list(lines) == ["classify", "embed"]
    assert lines["embed"] == Line(4, 200, 0, Decimal("0.50"), Decimal("12.0"), Decimal("0.10"))
    assert lines["classify"].wasted_usd == 0


def test_executions_without_a_model_are_no_calls() -> None:
    assert list(by_model([summary("a")])) == ["m"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (Line(tokens=10, cost_usd=Decimal("1234.5")), "1,234.5000"),
        (Line(tokens=10, unpriced_tokens=10), "no price"),
        (Line(tokens=10, unpriced_tokens=5, cost_usd=Decimal("0.1")), "0.1000 *"),
        (Line(), "0.0000"),
    ],
)
def test_money(line: Line, text: str) -> None:
    assert money(line) == text


def test_a_table_has_its_total_and_fits_a_narrow_terminal() -> None:
    text = printed(table("Per job", by_job([summary("demo-1/a"), summary("demo-1/b")], "demo-1/")))
    assert [line.split() for line in text.splitlines() if line.strip().startswith("all")] == [
        ["all", "8", "200", "0.5000", "0.1000", "1.5"]
    ]
    assert max(map(len, text.splitlines())) <= 80


def test_of_very_many_jobs_only_the_first_are_shown_but_all_are_counted() -> None:
    text = printed(table("Per job", by_job([summary(f"{number:03}") for number in range(40)], "")))
    assert "and 24 more" in text
    assert "all 40" in text
    assert f"{40 * 4}" in text


def test_what_came_to_nothing_and_what_has_no_price_is_said() -> None:
    assert "Spent 0.2500 USD, of which 0.0500 on attempts" in printed(*tables([summary("a")], ""))
    text = printed(*tables([summary("a") | {"unpriced_tokens": 40}], ""))
    assert "0.2500 *" in text
    assert "not counting 40 tokens (40.00%) without a known price" in text


def test_pace() -> None:
    rate, after = pace(1234, 10.0, 5.0, 0.456).splitlines()
    assert rate == "123 tasks per second, retries included (2 processes, 25% of their time inside tasks)"
    assert after == "the last row was readable 0.46 s after the last task ended"
    assert "not every row" in pace(1, 1.0, 1.0, None)
    assert "0 tasks per second" in pace(0, 0.0, 0.0, None)
