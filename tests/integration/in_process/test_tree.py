"""A job's tree is what really ran: which task sent which, whatever way Celery sends it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from celery import chain, chord, group

from aurea_celery import job
from aurea_celery.storage.tree import Tree, read_tree
from tests.integration.in_process.tasks import Tasks
from tests.integration.in_process.worker import Rows
from tests.support.databases import connected

# Celery's Redis backend calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Shape = list[tuple[int, str, int]]
"""The depth, the task and the runs of each node."""


def spends(tasks: Tasks) -> Any:
    return group(tasks.spend.s(), tasks.spend.s())


CANVASES: dict[str, tuple[Callable[[Tasks], Any], Shape]] = {
    "one after the other in a chain": (
        lambda tasks: chain(tasks.spend.s(), tasks.collect.s(), tasks.spend.s()),
        [(0, "spend", 1), (1, "collect", 1), (2, "spend", 1)],
    ),
    "side by side in a group": (spends, [(0, "spend", 1), (0, "spend", 1)]),
    "a chord's body below the last of its header": (
        lambda tasks: chord([tasks.spend.s(), tasks.spend.s()], tasks.collect.s()),
        [(0, "spend", 1), (0, "spend", 1), (1, "collect", 1)],
    ),
    "a group below the task before it": (
        lambda tasks: chain(tasks.collect.s(), spends(tasks)),
        [(0, "collect", 1), (1, "spend", 1), (1, "spend", 1)],
    ),
    "attempts in one node": (lambda tasks: tasks.again.s(), [(0, "again", 3)]),
    "what a task sends below it": (lambda tasks: tasks.nested.s(), [(0, "nested", 1), (1, "spend", 1)]),
}


@pytest.mark.parametrize("name", CANVASES)
def test_the_tree_of_a_canvas(name: str, worked: Tasks, rows: Rows, database_url: str) -> None:
    canvas, shape = CANVASES[name]
    with job("nightly"):
        canvas(worked).delay()
    rows.wait_for(sum(runs for _, _, runs in shape))

    tree = tree_of(database_url)

    assert [(node.depth, node.task_name, len(node.runs)) for node in tree.nodes] == shape
    assert not tree.is_cut


def test_what_a_replaced_task_became_has_its_id(worked: Tasks, rows: Rows, database_url: str) -> None:
    """Celery gives the new task the id of the one whose place it takes."""
    with job("nightly"):
        worked.replaced.delay()
    rows.wait_for(2)

    (node,) = tree_of(database_url).nodes

    assert [run.status for run in node.runs] == ["ignored", "success"]
    assert node.inclusive.total_cost == Decimal("0.00003")


def tree_of(url: str) -> Tree:
    with connected(url) as connection:
        tree = read_tree(connection, "nightly")
    assert tree is not None
    return tree
