"""SIGKILL of every process on the way, while many tasks run: nothing is lost, nothing counted twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.support.installation import Installation
from tests.support.servers import wait_until


@pytest.mark.parametrize(("delivery", "tasks"), [("background", 2_000), ("sync", 800)])
def test_sigkill_of_child_worker_and_writer(installation: Installation, delivery: str, tasks: int) -> None:
    environ = {"VISIBILITY_SECONDS": "3", "AUREA_DELIVERY": delivery}
    writer = installation.writer()
    worker = installation.worker("-c", "2", **environ)
    installation.send_many("spend", [(number, 1, 0.002) for number in range(tasks)])

    wait_for_begun(installation, tasks * 3 // 20)
    os.kill(worker.children()[0], signal.SIGKILL)
    wait_for_begun(installation, tasks * 6 // 20)
    os.kill(writer.children()[0], signal.SIGKILL)
    wait_for_begun(installation, tasks * 9 // 20)
    writer.kill()
    wait_for_begun(installation, tasks * 12 // 20)
    worker.kill()
    wait_until(lambda: not is_running(worker.pid), "the worker's end")
    installation.writer()
    worker = installation.worker("-c", "2", **environ)
    wait_for_empty(installation, "celery", "unacked_index")
    worker.stop()
    # A message on its way to the writer is neither in the queue nor among those handed out for a moment.
    installation.wait_for_executions(len(installation.truth_of("begun")))
    wait_for_empty(installation, "aurea_metrics", "aurea_metrics.unacked_index")

    begun = {task_id for task_id, _ in installation.truth_of("begun")}
    # Celery acknowledges a task just before its body runs: one per killed child may never begin.
    assert tasks - 3 <= len(begun) <= tasks
    check_against_truth(installation, kills=3)


def wait_for_begun(installation: Installation, count: int) -> None:
    wait_until(lambda: len(installation.truth_of("begun")) >= count, f"{count} executions having begun")


def wait_for_empty(installation: Installation, queue: str, handed_out: str) -> None:
    """Wait until the broker has no message, neither waiting nor handed out.

    kombu before 5.7 looks every 100 seconds only for what dead workers held.
    """
    names = (queue, handed_out)
    wait_until(lambda: not any(installation.length_of(name) for name in names), f"an empty {queue}", seconds=130)


def check_against_truth(installation: Installation, kills: int) -> None:
    """Rows are what the tasks wrote down themselves.

    Only a process that is killed exactly between its own line and ours can differ: such an execution is a ``lost`` row
    more, or spent tokens whose line is missing, never the other way round.
    """
    begun = Counter(task_id for task_id, _ in installation.truth_of("begun"))
    spent = summed(installation.truth_of("spent"))
    rows = installation.query("SELECT task_id, status, executions, token_count FROM metrics")
    executions = summed([(row.task_id, row.executions) for row in rows])
    tokens = summed([(row.task_id, row.token_count) for row in rows])
    ended = Counter(row.status for row in rows)

    differing = {task_id for task_id in begun | executions if begun[task_id] != executions[task_id]}
    lost = {row.task_id for row in rows if row.status == "lost"}
    assert not begun - executions, "an execution has no row"
    assert differing <= lost, "an execution has two rows"
    assert not spent - tokens, "spent tokens are missing"
    assert {task_id for task_id in tokens if tokens[task_id] != spent[task_id]} <= lost, "tokens are counted twice"
    assert set(ended) <= {"success", "lost"}
    assert ended["lost"] <= 2 * kills, "only a killed process leaves a lost execution"
    books = installation.query(
        "SELECT sum(captured), sum(written), sum(rejected), sum(duplicates) FROM metrics_sources"
    )
    assert (books[0][0], books[0][2]) == (books[0][1], 0), "the books do not close"


def summed(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for name, count in pairs:
        sums[name] += count
    return sums


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
