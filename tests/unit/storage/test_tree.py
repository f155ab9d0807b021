"""The law of the tree: every execution is in it once, parents come first, and no cost is lost or counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.storage.tree import grow

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
NAMES = st.sampled_from(["a", "b", "c", "d", None])


def execution(number: int, task_id: str | None, parent_id: str | None, parent_event: int | None) -> SimpleNamespace:
    """A row as the query gives it."""
    return SimpleNamespace(
        event_id=f"event-{number}",
        task_name="shop.ask",
        status="success",
        attempt=0,
        redelivered=False,
        started_at=BEGIN + timedelta(seconds=number),
        ended_at=BEGIN + timedelta(seconds=number + 1),
        latency_ms=Decimal(1000),
        total_tokens=10**number,
        unpriced_tokens=0,
        total_cost=Decimal(10) ** -number,
        task_id=task_id,
        parent_id=parent_id,
        group_id=None,
        parent_event_id=None if parent_event is None else f"event-{parent_event}",
    )


@given(st.lists(st.tuples(NAMES, NAMES, st.none() | st.integers(0, 8)), max_size=8))
def test_no_cost_is_lost_or_counted_twice(shape: list[tuple[str | None, str | None, int | None]]) -> None:
    """Whatever parents are named: missing ones, oneself, one's own child."""
    rows = [execution(number, *names) for number, names in enumerate(shape)]

    nodes = grow(rows)

    assert sorted(run.event_id for node in nodes for run in node.runs) == [row.event_id for row in rows]
    assert len({node.id for node in nodes}) == len(nodes)
    roots = [node for node in nodes if node.parent is None]
    assert sum(node.inclusive.total_cost for node in roots) == sum(row.total_cost for row in rows)
    assert sum(node.inclusive.total_tokens for node in roots) == sum(row.total_tokens for row in rows)
    assert sum(node.inclusive.executions for node in roots) == len(rows)
    place = {node.id: number for number, node in enumerate(nodes)}
    for node in nodes:
        assert (node.depth == 0) == (node.parent is None)
        if node.parent is not None:
            assert place[node.parent] < place[node.id]
            assert nodes[place[node.parent]].depth == node.depth - 1


def test_attempts_of_one_task_are_runs_of_one_node_and_what_it_sent_is_below_it() -> None:
    rows = [execution(0, "a", None, None), execution(1, "a", None, None), execution(2, "b", "a", None)]
    rows.append(execution(3, None, None, 2))

    nodes = grow(rows)

    assert [(node.id, node.parent, node.depth, len(node.runs)) for node in nodes] == [
        ("a", None, 0, 2),
        ("b", "a", 1, 1),
        ("event-3", "b", 2, 1),
    ]
    assert nodes[0].direct.total_tokens == 11
    assert nodes[0].inclusive.total_tokens == 1111


def test_a_chain_of_ten_thousand_is_no_deeper_than_the_stack() -> None:
    rows = [execution(0, str(number), str(number - 1), None) for number in range(10_000)]
    for number, row in enumerate(rows):
        row.event_id = f"event-{number}"

    nodes = grow(rows)

    assert nodes[-1].depth == 9_999
    assert nodes[0].inclusive.executions == 10_000
