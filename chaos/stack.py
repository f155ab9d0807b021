"""The processes of a run: servers, the user's workers, our writers; what is killed is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from aurea_celery.models import upgrade_database
from chaos.brokers import ChaosBroker, MissingServer, start_broker
from chaos.proxy import Proxy
from chaos.truth import Truth
from tests.support.processes import Process
from tests.support.servers import InstalledPostgres, installed_postgres, wait_until

ROOT = Path(__file__).parents[1]
VISIBILITY_SECONDS = 4
WRITER_VISIBILITY_SECONDS = 3
RESEND_SECONDS = 4
RETENTION_DAYS = 90
ASK_AGAIN_SECONDS = 5.0
END_SECONDS = 30.0

DATABASE = "chaos"
CREATE_DATABASE = f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
"""Not in UTF-8; the jobs' names are not all ASCII, and the environment names another encoding for clients."""

Start = Callable[[str], Process]


class Slot:
    """A place in the stack that a process fills; one that has ended is followed by the next.

    ``touched`` takes the pids of the processes that did not live and end undisturbed. ``is_told_to_end`` is set by
    whoever ends its process; one that ends without is counted in ``ended_by_itself``.
    """

    def __init__(self, name: str, start: Start, touched: set[int]) -> None:
        self.name = name
        self._start, self._touched = start, touched
        self._generation = 0
        self.started_again = -1
        self.ended_by_itself = 0
        self.fill()

    def fill(self) -> None:
        """Start a process here."""
        self._generation += 1
        self.started_again += 1
        self.is_told_to_end = False
        self.process = self._start(f"{self.name}-{self._generation}")

    def tend(self) -> str | None:
        """Start the next process if this one has ended; what to say if nobody had told it to."""
        status = self.process.status
        if status is None:
            return None
        said = None if self.is_told_to_end else f"{self.process.name} has ended by itself with status {status}"
        self.ended_by_itself += said is not None
        if status:
            self.touch(self.process.pid)
        self.process.stop()
        self.fill()
        return said

    def kill(self) -> None:
        """SIGKILL to its process and to its children."""
        self.is_told_to_end = True
        for pid in self.family():
            send_signal(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End its process, whichever it is by now, and leave the place empty."""
        self.process.stop()

    @property
    def is_ready(self) -> bool:
        """Whether its process runs and has all its children."""
        return self.process.status is None and "is ready." in self.process.log and bool(self.process.children())

    def family(self) -> list[int]:
        """The pids of its process and of its children; none once it has ended."""
        return [] if self.process.status is not None else [self.process.pid, *self.process.children()]

    def touch(self, *pids: int) -> None:
        """Note that these processes do not live undisturbed any more."""
        self._touched.update(pids)


class Stack:
    """Everything that runs, in one folder.

    Args:
        folder: For data, logs and the truth; must be readable for PostgreSQL's user.
        broker: ``redis`` or ``rabbitmq``.
        workers: How many workers of the user's, with ``concurrency`` children each.
        writers: How many writers, with one child each.
        delivery: The setting of that name.
        writer_app: The app that the writers load; another one than the workers' has a bug.

    Raises:
        MissingServer: If a server is not installed.
    """

    def __init__(
        self, folder: Path, broker: str, *, workers: int, concurrency: int, writers: int, writer_app: str, delivery: str
    ) -> None:
        programs = installed_postgres()
        if programs is None:
            raise MissingServer("PostgreSQL is not installed; install it with: apt-get install postgresql")
        self.folder, self._concurrency, self._writer_app = folder, concurrency, writer_app
        self._delivery = delivery
        self.outbox, self.disk_flag = folder / "outbox", folder / "disk-full"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.truth = Truth(folder / "truth")
        self.touched: set[int] = set()
        self.removed: dict[int, float] = {}
        self.workers: list[Slot] = []
        self.writers: list[Slot] = []
        self.planted: set[str] = set()
        self.forgotten: set[str] = set()
        self._closing = contextlib.ExitStack()
        try:
            self._start_servers(broker, programs)
            self.writers += [self._slot(f"writer-{number}", self._start_writer) for number in range(1, writers + 1)]
            self.workers += [self._slot(f"worker-{number}", self._start_worker) for number in range(1, workers + 1)]
            wait_until(lambda: all(slot.is_ready for slot in self.slots), "every process being ready")
        except BaseException:
            self.close()
            raise

    def _start_servers(self, broker: str, programs: Path) -> None:
        self.broker: ChaosBroker = start_broker(broker, self.folder)
        self.broker_loses = self.broker.loses_what_it_sends
        self._closing.callback(self.broker.remove)
        self.database = InstalledPostgres(programs, self.folder)
        self._closing.callback(self._stop_database)
        execute(self.database.url, CREATE_DATABASE)
        self.database_url = f"postgresql://aurea@127.0.0.1:{self.database.port}/{DATABASE}"
        upgrade_database(self.database_url)
        self.proxy = Proxy(self.database.port)
        self._closing.callback(self.proxy.stop)

    @property
    def slots(self) -> list[Slot]:
        """All places, workers first."""
        return [*self.workers, *self.writers]

    def tend(self) -> list[str]:
        """Start again whatever has ended, and read what the tasks have written down; what is to be said of it."""
        said = [sentence for slot in self.slots if (sentence := slot.tend())]
        self.truth.read()
        return said

    def set_clock(self, slot: Slot, seconds: int) -> None:
        """Make the wall clock of a place wrong by so many seconds."""
        self._clock_of(slot.name).write_text(f"{seconds}")

    def outbox_folders(self) -> list[Path]:
        """The outbox folders of all processes."""
        return [path for path in self.outbox.glob("*/*") if path.name[0] != "."]

    def forget_broker(self) -> None:
        """Take the data of the stopped broker away: what was put into its queues and not yet written is gone too."""
        self.broker.forget()
        self.broker_loses = True
        self.forgotten |= self.planted
        self.planted.clear()

    def start_collector(self) -> Slot:
        """A worker with nothing to do, which sends what others left in their outbox."""
        return self._slot("collector", self._start_collector)

    def _clock_of(self, slot_name: str) -> Path:
        return self.folder / f"clock-{slot_name}"

    def _slot(self, name: str, start: Start) -> Slot:
        slot = Slot(name, start, self.touched)
        self._closing.callback(slot.stop)
        return slot

    def _start_worker(self, name: str) -> Process:
        options = ["-n", f"{name}@%h", "-c", f"{self._concurrency}"]
        return self._celery(name, "chaos.app", ["worker", *options])

    def _start_collector(self, name: str) -> Process:
        return self._celery(name, "chaos.app", ["worker", "-n", "collector@%h", "-c", "1", "-Q", "nothing"])

    def _start_writer(self, name: str) -> Process:
        return self._celery(name, self._writer_app, ["aurea", "writer"])

    def _celery(self, name: str, app: str, words: list[str]) -> Process:
        command = [sys.executable, "-m", "celery", "-A", app, *words, "--loglevel", "WARNING"]
        return Process(name, command, folder=self.folder, environ=self._environ(name))

    def _environ(self, name: str) -> dict[str, str]:
        return {
            "CHAOS_BROKER_URL": self.broker.url,
            "CHAOS_CLOCK": str(self._clock_of(name.rpartition("-")[0])),
            "CHAOS_TRUTH": str(self.folder / "truth"),
            "CHAOS_DISK_FLAG": str(self.disk_flag),
            "CHAOS_VISIBILITY_SECONDS": f"{VISIBILITY_SECONDS}",
            "DATABASE_URL": f"postgresql://aurea@127.0.0.1:{self.proxy.port}/{DATABASE}",
            "PGCLIENTENCODING": "SQL_ASCII",
            "AUREA_OUTBOX_DIR": str(self.outbox),
            "AUREA_DELIVERY": self._delivery,
            "AUREA_FLUSH_INTERVAL_SECONDS": "0.05",
            "AUREA_RETENTION_DAYS": f"{RETENTION_DAYS}",
            "AUREA_RESEND_SECONDS": f"{RESEND_SECONDS}",
            "AUREA_WRITER_VISIBILITY_TIMEOUT_SECONDS": f"{WRITER_VISIBILITY_SECONDS}",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),  # what is killed leaves something there
        }

    def _stop_database(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # a fault may have stopped it already
            self.database.stop()

    def close(self) -> None:
        """End everything that was started here, at once: what is frozen would not hear a SIGTERM."""
        for slot in self.slots:
            slot.kill()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def end_all(slots: Sequence[Slot]) -> list[str]:
    """SIGTERM until all have ended, and SIGKILL to those that do not; what is to be said of these.

    A busy Celery worker on Redis sometimes hears only the second SIGTERM.
    """
    until = time.monotonic() + END_SECONDS
    for slot in slots:
        slot.is_told_to_end = True
    while (running := [slot.process for slot in slots if slot.process.status is None]) and time.monotonic() < until:
        for process in running:
            process.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: all(one.status is not None for one in running), "the end", seconds=ASK_AGAIN_SECONDS)
    hung = [slot for slot in slots if slot.process.status is None]
    for slot in hung:
        slot.touch(*slot.family())
        slot.kill()
    for slot in slots:
        slot.process.stop()
    return [f"{slot.process.name} did not end when it was told to, and was killed" for slot in hung]


def execute(url: str, *statements: str) -> None:
    """Execute statements outside of transactions, also where new sessions are read-only."""
    session = psycopg2.connect(url, options="-c default_transaction_read_only=off")
    session.autocommit = True
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    session.close()


def pid_of(outbox_folder: str) -> int:
    """Whose an outbox folder is: ``PARENT.PID-RANDOM`` or ``PID-RANDOM``."""
    return int(outbox_folder.rpartition(".")[2].partition("-")[0])


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
