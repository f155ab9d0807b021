"""Every way a worker runs and stops: each execution is a row."""

from __future__ import annotations

import signal

import pytest

from tests.support.installation import Installation
from tests.support.servers import wait_until

TASKS = 200


@pytest.mark.parametrize(
    "options",
    [
        ["-P", "solo"],
        ["-P", "threads", "-c", "4"],
        ["-P", "prefork", "-c", "2", "--max-tasks-per-child", "7"],
        ["-P", "prefork", "-c", "2", "--without-mingle", "--without-gossip", "--without-heartbeat"],
    ],
    ids=["solo", "threads", "recycled", "bare"],
)
def test_every_pool(installation: Installation, options: list[str]) -> None:
    installation.writer()
    worker = installation.worker(*options)
    installation.send_many("spend", [(number, 1) for number in range(TASKS)])
    wait_until(lambda: len(installation.truth_of("spent")) == TASKS, "every task")

    worker.stop()
    installation.wait_for_executions(TASKS)

    written = installation.written()
    assert (written.executions, written.token_count) == (TASKS, sum(range(TASKS)) + TASKS)
    assert installation.query("SELECT DISTINCT status FROM metrics") == [("success",)]
    assert "internal fault" not in worker.log
    assert not list(installation.outbox.glob(f"*/{worker.pid}-*")), "the worker left a folder behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_every_way_to_stop_a_worker(installation: Installation, number: signal.Signals) -> None:
    worker = installation.worker("-c", "2")
    installation.send_many("spend", [(number_, 1) for number_ in range(TASKS)])
    wait_until(lambda: len(installation.truth_of("spent")) >= TASKS // 2, "half of the tasks")
    worker.end(number)
    installation.writer()  # has the plugin too: it sends what the worker left

    begun = len(installation.truth_of("begun"))
    installation.wait_for_executions(begun)

    assert begun <= installation.written().executions <= begun + 2
    spent = sum(tokens for _, tokens in installation.truth_of("spent"))
    assert spent <= installation.written().token_count <= spent + 2 * TASKS


def test_spend_just_before_a_sigkill_is_in_the_row(installation: Installation) -> None:
    installation.writer()
    installation.worker("-c", "2")
    installation.send("die", 77)

    installation.wait_for_executions(1)

    rows = installation.query("SELECT status, token_count, model_used, latency_ms >= 0, error_type FROM metrics")
    assert rows == [("lost", 77, "gpt-4", True, "WorkerLostError")]


def test_two_apps_in_one_process(installation: Installation) -> None:
    """Each app's events go to its own broker, queue and settings."""
    installation.writer()
    script = installation.run("two-apps", ["tests.support.two_apps"])
    assert script.wait() == 0, script.log

    installation.wait_for_executions(2)

    assert installation.query("SELECT job_id, task_name FROM metrics ORDER BY 1") == [
        ("first", "one"),
        ("first", "two"),
    ]
    assert installation.length_of("other_metrics") == 1, "the second app's event is in its own queue"


def test_a_fork_keeps_and_sends_its_own(installation: Installation) -> None:
    installation.writer()
    script = installation.run("forking", ["tests.support.forking"])
    assert script.wait() == 0, script.log

    installation.wait_for_executions(8)

    assert installation.query("SELECT job_id, sum(executions)::int FROM metrics GROUP BY 1 ORDER BY 1") == [
        ("after", 1),
        ("before", 1),
        ("child 0", 2),
        ("child 1", 2),
        ("child 2", 2),
    ]
    books = installation.query("SELECT captured, written FROM metrics_sources ORDER BY 1")
    assert books == [(2, 2)] * 4
