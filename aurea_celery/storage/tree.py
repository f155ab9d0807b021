"""A job as it ran: which task was started by which, and what each cost with all that it started.

The tree is told as a list in depth-first order, for a chain of ten thousand tasks is ten thousand levels deep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.clock import Time
from aurea_celery.storage.schema import metrics_jobs
from aurea_celery.storage.spending import plain, priced_share

MOST_ROWS = 10_000


class Run(Struct, frozen=True, kw_only=True):
    """One execution of a node: each attempt, and each delivery, is one."""

    event_id: str
    status: str
    attempt: int
    redelivered: bool
    started_at: Time
    ended_at: Time
    latency_ms: Decimal
    total_tokens: int
    unpriced_tokens: int
    total_cost: Decimal


class Sums(Struct, kw_only=True):
    """What a node spent."""

    executions: int = 0
    total_tokens: int = 0
    unpriced_tokens: int = 0
    priced_share: Decimal | None = None
    total_cost: Decimal = Decimal(0)

    def add(self, other: Sums | Run) -> None:
        """Add what another spent."""
        self.executions += other.executions if isinstance(other, Sums) else 1
        self.total_tokens += other.total_tokens
        self.unpriced_tokens += other.unpriced_tokens
        self.priced_share = priced_share(self.total_tokens, self.unpriced_tokens)
        self.total_cost = plain(self.total_cost + other.total_cost)


class Node(Struct, kw_only=True):
    """A task, or a monitored call that is none. ``parent`` is the id of the node that started it, if it is known.

    ``status`` is that of the last run. ``direct`` is what its own runs spent, ``inclusive`` with all nodes below it.
    """

    id: str
    parent: str | None
    depth: int
    task_name: str
    task_id: str | None
    group_id: str | None
    status: str
    runs: list[Run]
    direct: Sums
    inclusive: Sums


class Tree(Struct, frozen=True, kw_only=True):
    """A job's nodes, each after its parent.

    ``is_cut`` if the job has spent more than they show: it has more than :data:`MOST_ROWS` rows, or retention has
    dropped some.
    """

    job_id: str
    executions: int
    is_cut: bool
    nodes: list[Node]


def read_tree(connection: sa.Connection, job_id: str) -> Tree | None:
    """The tree of a job; None if nothing is known of it."""
    job = connection.execute(sa.select(metrics_jobs).where(metrics_jobs.c.job_id == job_id)).one_or_none()
    if job is None:
        return None
    nodes = grow(connection.execute(_EXECUTIONS, {"job_id": job_id, "most": MOST_ROWS}))
    shown = Sums()
    for node in nodes:
        shown.add(node.direct)
    of_job = (job.executions, job.token_count, job.cost_estimate)
    is_cut = (shown.executions, shown.total_tokens, shown.total_cost) != of_job
    return Tree(job_id=job_id, executions=shown.executions, is_cut=is_cut, nodes=nodes)


def grow(rows: Iterable[Any]) -> list[Node]:
    """The nodes of executions, each after its parent, with every cost in exactly one tree.

    A parent that is not among them, or below its own child, is none: then the node is a root.
    """
    nodes = _nodes(rows)
    children: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes.values():
        children[node.parent if node.parent in nodes and node.parent != node.id else None].append(node)
    ordered = list(_depth_first(children, children[None]))
    seen = {node.id for node in ordered}
    for node in nodes.values():  # what is left goes round in a circle, which is opened where it began
        if node.id not in seen:
            node.parent = None
            ordered += _depth_first(children, [node], seen)
    for node in reversed(ordered):
        node.inclusive.add(node.direct)
        if node.parent is not None:
            nodes[node.parent].inclusive.add(node.inclusive)
    return ordered


def _depth_first(
    children: dict[str | None, list[Node]], roots: list[Node], seen: set[str] | None = None
) -> Iterator[Node]:
    seen = set() if seen is None else seen
    waiting = [(node, 0) for node in reversed(roots)]
    while waiting:
        node, depth = waiting.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        node.depth = depth
        if not depth:
            node.parent = None
        yield node
        waiting += [(child, depth + 1) for child in reversed(children[node.id])]


def _nodes(rows: Iterable[Any]) -> dict[str, Node]:
    """A node for each task, by its id, and for each call that is no task; in the order in which they began."""
    rows = list(rows)
    node_of_event = {row.event_id: row.task_id or row.event_id for row in rows}
    nodes: dict[str, Node] = {}
    for row in rows:
        run = Run(
            event_id=row.event_id,
            status=row.status,
            attempt=row.attempt,
            redelivered=row.redelivered,
            started_at=row.started_at,
            ended_at=row.ended_at,
            latency_ms=plain(row.latency_ms),
            total_tokens=int(row.total_tokens),
            unpriced_tokens=int(row.unpriced_tokens),
            total_cost=plain(row.total_cost),
        )
        node_id = node_of_event[row.event_id]
        node = nodes.get(node_id) or nodes.setdefault(node_id, _node(node_id, row, node_of_event))
        node.runs.append(run)
        node.status = run.status
        node.direct.add(run)
    return nodes


def _node(node_id: str, row: Any, node_of_event: dict[str, str]) -> Node:
    """A call inside of an execution belongs to that; a task to the one that sent it."""
    parent = node_of_event.get(row.parent_event_id or "") or row.parent_id
    return Node(
        id=node_id,
        parent=parent,
        depth=0,
        task_name=row.task_name,
        task_id=row.task_id,
        group_id=row.group_id,
        status=row.status,
        runs=[],
        direct=Sums(),
        inclusive=Sums(),
    )


# All rows of one event say the same of its execution; latency is on the first alone.
_EXECUTIONS = sa.text(
    "SELECT CAST(event_id AS text) AS event_id, min(task_name) AS task_name, min(status) AS status,"
    " min(attempt) AS attempt, bool_or(redelivered) AS redelivered, min(started_at) AS started_at,"
    " max(created_at) AS ended_at, sum(latency_ms) AS latency_ms, sum(token_count) AS total_tokens,"
    " sum(unpriced_tokens) AS unpriced_tokens, sum(cost_estimate) AS total_cost, min(task_id) AS task_id,"
    " min(parent_id) AS parent_id, min(group_id) AS group_id,"
    " min(CAST(parent_event_id AS text)) AS parent_event_id"
    " FROM (SELECT * FROM metrics WHERE job_id = :job_id ORDER BY created_at, id LIMIT :most) AS first_rows"
    " GROUP BY event_id, created_at ORDER BY min(started_at), event_id"
)
