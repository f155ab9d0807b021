"""A worker is stopped, or killed, while a task runs: the row says how, and the next delivery has its own."""

from __future__ import annotations

import signal

import pytest

from tests.support.endings import APP, PREFORK, Ending, Row
from tests.support.installation import Installation
from tests.support.outcomes import check_books, rows_by_job, send, sizes, wait_for_rows
from tests.support.servers import wait_until

COLD = Row("lost", "SystemExit")
KILLED = Row("lost", "WorkerLostError")
DONE = Row("success")
AGAIN = Row("success", redelivered=True)


@pytest.mark.parametrize(
    ("number", "task", "soft_seconds", "rows"),
    [
        # signal          task             soft  rows
        (signal.SIGTERM, "run_a_while",    "0",  [DONE]),
        (signal.SIGQUIT, "run_a_while",    "10", [DONE]),
        (signal.SIGQUIT, "run_long",       "1",  [COLD]),
        (signal.SIGQUIT, "run_long",       "0",  [COLD]),
        (signal.SIGQUIT, "run_long_late",  "0",  [COLD, AGAIN]),
        (signal.SIGKILL, "run_long",       "0",  [KILLED]),
        (signal.SIGKILL, "run_long_late",  "0",  [KILLED, AGAIN]),
    ],
    ids=["warm", "soft", "soft, too short", "cold", "cold, redelivered", "killed", "killed, redelivered"],
)  # fmt: skip
def test_every_way_to_stop(
    installation: Installation, number: signal.Signals, task: str, soft_seconds: str, rows: list[Row]
) -> None:
    environ = {"SOFT_SHUTDOWN_SECONDS": soft_seconds, "VISIBILITY_SECONDS": "6"}
    installation.writer(app=APP)
    worker = installation.worker("-c", "1", app=APP, **environ)
    send(installation, Ending("stopped", PREFORK, task, []))
    wait_until(lambda: list(installation.outbox.glob("*/*.*/*.seg")), "the task's begin")
    wait_until(lambda: is_active(installation, task), "the worker to know of it")

    worker.send(number)
    assert worker.wait() is not None
    next_worker = installation.worker("-c", "1", app=APP, **environ)
    wait_for_rows(installation, {"stopped": len(rows)})

    assert rows_by_job(installation) == {"stopped": [row._replace(task=task) for row in rows]}
    assert sizes(rows_by_job(installation)) == {"stopped": len(rows)}
    assert "internal fault" not in worker.log + next_worker.log
    check_books(installation)


def is_active(installation: Installation, task: str) -> bool:
    """Whether the main process knows that a task has begun: until then a cold shutdown waits for it to end."""
    active = installation.app.control.inspect(timeout=0.5).active() or {}
    return any(request["name"] == f"{APP}.{task}" for requests in active.values() for request in requests)
