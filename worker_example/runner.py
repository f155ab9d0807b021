"""Running the workload: publish it, and watch until every execution has ended and its row is readable."""

from __future__ import annotations

import time
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker_example.interrupts import Interrupts
from worker_example.ledger import Ledger
from worker_example.services import Services
from worker_example.workload import Job, publish

LOOK_SECONDS = 0.25
STALL_SECONDS = 60.0


class Run(NamedTuple):
    """How it went.

    ``seconds`` is the time from the first publication to the last end of a task; ``readable_seconds`` the time from
    then until all rows were readable, or None if they never were.
    """

    ledger: Ledger
    seconds: float
    readable_seconds: float | None


class _Watch:
    """Looks now and then at the ledger and at the API, and moves the bars."""

    def __init__(self, services: Services, expected: int, interrupts: Interrupts, progress: Progress) -> None:
        self.ledger = Ledger(services.ledger_path)
        self.readable_ns = 0
        self._services, self._expected, self._interrupts, self._progress = services, expected, interrupts, progress
        self._ended_bar = progress.add_task("executions ended", total=expected)
        self._rows_bar = progress.add_task("rows in Postgres", total=expected)
        self._looked_at = self._changed_at = time.monotonic()
        self._seen = (0, 0)

    def glance(self) -> None:
        """Called at every step of the publication: look if it is time to."""
        self._interrupts.check()
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._look()

    def wait(self) -> None:
        """Look until everything is there, or nothing has moved for a long time."""
        while not self.readable_ns and time.monotonic() - self._changed_at < STALL_SECONDS:
            self._interrupts.pause(0.02 if self._seen[0] >= self._expected else LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        self._services.check()
        ended = self.ledger.read()
        rows = sum(job["task_count"] for job in self._services.client.jobs(self._services.job_prefix))
        if ended >= self._expected and rows >= ended:
            self.readable_ns = time.time_ns()
        self._progress.update(self._ended_bar, completed=ended)
        self._progress.update(self._rows_bar, completed=rows)
        self._looked_at = time.monotonic()
        if (ended, rows) != self._seen:
            self._seen, self._changed_at = (ended, rows), self._looked_at


def run(jobs: list[Job], services: Services, interrupts: Interrupts, console: Console) -> Run:
    """Publish the jobs and wait for them.

    Raises:
        ExampleError: If a process ends meanwhile.
        Interrupted: If a signal comes meanwhile.
    """
    expected = sum(ask.executions for job in jobs for ask in job.asks)
    bar = BarColumn(bar_width=30)
    columns = (TextColumn("  {task.description}"), bar, MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        watch = _Watch(services, expected, interrupts, progress)
        begun_ns = time.time_ns()
        publish(jobs, services.job_prefix, watch.glance)
        watch.wait()
    ledger = watch.ledger
    return Run(
        ledger,
        max(0, ledger.last_end_ns - begun_ns) / 1e9,
        (watch.readable_ns - ledger.last_end_ns) / 1e9 if watch.readable_ns else None,
    )
