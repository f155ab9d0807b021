"""Every way a task can end, in every pool, leaves the rows of the table in ``tests/support/endings.py``.

All endings of a pool run in one worker, each as a job of its own.
"""

from __future__ import annotations

import pytest

from aurea_celery.clock import new_event_id
from tests.support.endings import APP, DONE, ENDINGS, POOLS, PREFORK, TOKENS, Ending, Row
from tests.support.installation import Installation
from tests.support.outcomes import check_books, rows_by_job, send, sizes, wait_for_rows
from tests.support.servers import wait_until

CANVAS_SIZES = {
    "chain": 3,
    "group": 4,
    "chord": 4,
    "chain of a group": 4,
    "map": 1,
    "starmap": 1,
    "chunks": 2,
    "link": 2,
    "link_error": 2,
    "link_error, old style": 1,
}
"""How many executions each canvas of ``tests/support/canvases.py`` has."""

OTHER_TOKENS = {"map": 3 * TOKENS, "starmap": 2 * TOKENS, "chunks": 4 * TOKENS, "link_error, old style": 2 * TOKENS}
"""What is spent where an execution runs more than one body; an old error callback runs inside the task that failed."""


@pytest.mark.parametrize("pool", POOLS)
def test_every_ending_leaves_its_rows(installation: Installation, pool: str) -> None:
    installation.writer(app=APP)
    worker = installation.worker(*POOLS[pool], app=APP)
    endings = [ending for ending in ENDINGS if pool in ending.pools]
    for ending in endings:
        send(installation, ending)

    expected = {ending.name: [expand(ending, row) for row in ending.rows] for ending in endings}
    wait_for_rows(installation, sizes(expected))

    assert rows_by_job(installation) == expected
    assert "internal fault" not in worker.log
    check_books(installation)


@pytest.mark.parametrize("pool", POOLS)
def test_every_canvas_is_a_job_with_all_its_rows(installation: Installation, pool: str) -> None:
    installation.writer(app=APP)
    installation.worker(*POOLS[pool], app=APP)
    assert installation.run("client", ["tests.support.canvases"]).wait() == 0

    expected = CANVAS_SIZES
    wait_for_rows(installation, expected)

    spent = dict(installation.query("SELECT job_id, sum(token_count)::int FROM metrics GROUP BY 1"))
    assert spent == {name: OTHER_TOKENS.get(name, TOKENS * size) for name, size in expected.items()}
    inner = f"({APP}.succeed)"
    assert {row.task for name in ("map", "chunks") for row in rows_by_job(installation)[name]} == {
        f"celery.map{inner}",
        f"celery.starmap{inner}",
    }


def test_revoked_before_it_began_and_while_it_runs(installation: Installation) -> None:
    installation.writer(app=APP)
    worker = installation.worker("-P", "prefork", "-c", "1", app=APP)
    running, waiting = new_event_id(), new_event_id()
    send(installation, Ending("running", PREFORK, "run_long", [], options={"task_id": running}))
    send(installation, Ending("waiting", PREFORK, "succeed", [], options={"task_id": waiting}))
    wait_until(lambda: is_active(installation, running), "the task runs")

    installation.app.control.revoke(waiting)
    installation.app.control.revoke(running, terminate=True)

    expected = {
        "running": [Row("revoked", "Terminated", task="run_long")],
        "waiting": [Row("revoked", "TaskRevokedError", tokens=0, task="succeed")],
    }
    wait_for_rows(installation, sizes(expected))
    assert rows_by_job(installation) == expected
    assert "internal fault" not in worker.log
    check_books(installation)


def test_a_beat_schedule_names_its_job(installation: Installation) -> None:
    installation.writer(app=APP)
    installation.worker("-P", "solo", app=APP)
    beat = installation.run("beat", ["celery", "-A", APP, "beat", "-s", str(installation.folder / "schedule")])

    installation.wait_for_executions(3)

    beat.stop()
    assert rows_by_job(installation).keys() == {"beat"}


def test_an_error_callback_of_a_lost_child_is_of_its_job(installation: Installation) -> None:
    """The worker's main process publishes it, where no execution runs."""
    installation.writer(app=APP)
    installation.worker("-P", "prefork", "-c", "1", app=APP)
    notice = installation.app.signature(f"{APP}.notice")
    installation.app.send_task(f"{APP}.leave", headers={"aurea_job": "nightly"}, link_error=notice)

    expected = {"nightly": [Row("lost", "WorkerLostError", task="leave"), DONE._replace(task="notice")]}
    wait_for_rows(installation, sizes(expected))
    assert rows_by_job(installation) == expected


def test_memory_error(installation: Installation) -> None:
    """Celery may give up the whole worker then; the row is there all the same."""
    installation.writer(app=APP)
    installation.worker("-P", "prefork", "-c", "1", app=APP)
    send(installation, Ending("memory", PREFORK, "memory_error", []))

    installation.wait_for_executions(1)

    assert rows_by_job(installation) == {"memory": [Row("failure", "MemoryError", task="memory_error")]}


@pytest.mark.parametrize("option", ["--max-tasks-per-child=1", "--max-memory-per-child=1"])
def test_a_child_that_lives_for_one_task(installation: Installation, option: str) -> None:
    count = 500 if "tasks" in option else 50
    installation.writer(app=APP)
    worker = installation.worker("-P", "prefork", "-c", "2", option, app=APP)
    for _ in range(count):
        send(installation, Ending("many", PREFORK, "succeed", []))

    installation.wait_for_executions(count, seconds=240)

    worker.stop()
    assert sizes(rows_by_job(installation)) == {"many": count}
    assert set(rows_by_job(installation)["many"]) == {DONE._replace(task="succeed")}
    assert installation.written().token_count == count * TOKENS


def expand(ending: Ending, row: Row) -> Row:
    """A row of the table with the task's name, where it is not another's."""
    return row if row.task else row._replace(task=ending.task)


def is_active(installation: Installation, task_id: str) -> bool:
    """Whether a worker says that a task runs."""
    active = installation.app.control.inspect(timeout=1).active() or {}
    return any(task["id"] == task_id for tasks in active.values() for task in tasks)
