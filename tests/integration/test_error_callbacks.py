"""An error callback is of the job that failed, also where the worker's main process sends it for a child that died."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.endings import APP
from tests.support.installation import Installation
from tests.support.servers import wait_until

Jobs = dict[str, tuple[set[str], list[str | None]]]
"""The tasks of each job, and what their tag says; Celery calls some callbacks twice."""

TASKS = {
    "task that dies": {"leave", "notice"},
    "task that takes too long": {"hard_limit", "notice"},
    "chain": {"succeed", "leave", "notice"},
    "chord with a dead member": {"succeed", "leave", "notice"},
    "chord with a late member": {"succeed", "hard_limit", "notice"},
    "chord of chains": {"succeed", "leave", "notice"},
    "chord in a chain": {"succeed", "leave", "notice"},
    "chord with a group as its body": {"succeed", "leave", "notice"},
    "callback that sends": {"leave", "notice"},
    "chord's callback that sends": {"succeed", "leave", "notice"},
}
"""Which tasks run in each canvas of ``tests/support/error_callbacks.py``."""

NAMED: Jobs = {
    "its own": ({"leave_own_job", "notice"}, [None]),
    "decorated": ({"leave_decorated", "notice"}, [None]),
}
NAMED.update((name, (tasks, [name])) for name, tasks in TASKS.items())
UNNAMED = sorted(sorted(tasks) for tasks in TASKS.values())


@pytest.mark.parametrize("backend", ["redis", "file"])
def test_an_error_callback_of_what_died_is_of_its_job(installation: Installation, backend: str) -> None:
    if backend == "file":  # one that cannot count, so that a task of Celery's own looks whether a chord is complete
        (installation.folder / "results").mkdir()
        installation.settings["RESULT_BACKEND"] = f"file://{installation.folder / 'results'}"
    installation.writer(app=APP)
    worker = installation.worker("-P", "prefork", "-c", "3", app=APP)
    assert installation.run("client", ["tests.support.error_callbacks"]).wait() == 0

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: jobs_of(installation) == (NAMED, UNNAMED), "every row", seconds=120)

    assert jobs_of(installation) == (NAMED, UNNAMED), "each canvas is one job"
    assert "internal fault" not in worker.log


def jobs_of(installation: Installation) -> tuple[Jobs, list[list[str]]]:
    """What is in the database: of jobs that are named, and the tasks of each of the others."""
    rows = installation.query(
        "SELECT job_id, array_agg(split_part(task_name, '.', 4)), array_agg(DISTINCT tags->>'canvas') FROM metrics"
        " GROUP BY 1"
    )
    named = {job: (set(tasks), tags) for job, tasks, tags in rows if job in NAMED}
    return named, sorted(sorted(set(tasks)) for job, tasks, _ in rows if job not in NAMED)
