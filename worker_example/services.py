"""Everything the example needs: the private stack, a worker, a writer, the API. Started and stopped in order."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from aurea_celery.embedded import EmbeddedStack
from aurea_celery.errors import AureaError
from aurea_celery.models import upgrade_database
from aurea_celery.writer_health import running_writers
from worker_example.app import BROKER_VARIABLE, QUEUE_VARIABLE, app
from worker_example.books import Books, read_books
from worker_example.client import Client
from worker_example.errors import ExampleError
from worker_example.interrupts import POLL_SECONDS, Interrupts, shielded_children
from worker_example.ledger import LEDGER_VARIABLE
from worker_example.model import SPEED_VARIABLE
from worker_example.processes import Child
from worker_example.provider import PROVIDERS

WORKER_PROCESSES = 2
START_SECONDS = 60.0
SETTLE_SECONDS = 5.0
HOST = "127.0.0.1"


class Services:
    """The running demo, as a context manager.

    Args:
        port: Where the API listens.
        speed: How many times faster than the published latency the simulated model is.
        simulate: Use the simulated model even if there is a provider's key.
    """

    def __init__(self, *, port: int, speed: float, simulate: bool, interrupts: Interrupts, console: Console) -> None:
        self._run_id = os.urandom(3).hex()
        self.client = Client(f"http://{HOST}:{port}")
        self._port, self._speed, self._simulate = port, speed, simulate
        self._interrupts, self._console = interrupts, console
        self._closing = contextlib.ExitStack()
        self._children: list[Child] = []
        self._queue = f"worker_example_{self._run_id}"

    def __enter__(self) -> Services:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._console.status("Stopping"):
            self._closing.close()

    @property
    def job_prefix(self) -> str:
        """What the ids of this run's jobs begin with; the database may hold other runs."""
        return f"demo-{self._run_id}/"

    @property
    def ledger_path(self) -> Path:
        """Where the tasks append what they did."""
        return self._folder / "ledger"

    @property
    def _outbox(self) -> Path:
        return self._folder / "outbox"

    def check(self) -> None:
        """Make sure that nothing has ended.

        Raises:
            ExampleError: If a process has.
        """
        for child in self._children:
            child.check()

    def books(self) -> Books:
        """The books of this run.

        Raises:
            DatabaseUnavailable: If the database does not answer.
        """
        return read_books(self.database_url).since(self._books_before)

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="aurea-demo-"))
        self._closing.callback(self._remove_folder)
        given_database_url, given_broker_url = os.environ.get("DATABASE_URL"), os.environ.get(BROKER_VARIABLE)
        with self._step("PostgreSQL and Valkey" if not given_database_url else "Valkey"), shielded_children():
            stack = self._closing.enter_context(EmbeddedStack(given_database_url, given_broker_url))
        self.database_url = stack.database_url
        with self._step("the schema"):
            upgrade_database(self.database_url)
        self._books_before = read_books(self.database_url)
        app.conf.update(broker_url=stack.broker_url, result_backend=stack.broker_url, task_default_queue=self._queue)
        self._closing.callback(self._delete_queue)
        with self._step(f"a worker with {WORKER_PROCESSES} processes, a writer and the API"):
            self._start_children(stack.broker_url)
            self._wait_for_children()

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._interrupts.check()
        begun = time.monotonic()
        with self._console.status(f"Starting {what}"):
            yield
        self._console.print(f"  started {what} in {time.monotonic() - begun:.1f} s", style="dim")

    def _start_children(self, broker_url: str) -> None:
        environ = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "AUREA_OUTBOX_DIR": str(self._outbox),
            "TMPDIR": str(self._folder),  # a process that is killed leaves its temporary files there
            BROKER_VARIABLE: broker_url,
            QUEUE_VARIABLE: self._queue,
            LEDGER_VARIABLE: str(self.ledger_path),
            SPEED_VARIABLE: str(self._speed),
        }
        for provider in PROVIDERS if self._simulate else ():
            environ.pop(provider.key_variable, None)
        celery = ["celery", "-A", "worker_example.app"]
        worker = [
            "worker",
            "--concurrency",
            f"{WORKER_PROCESSES}",
            "--hostname",
            self._worker_name,
            "--loglevel",
            "WARNING",
        ]
        # Stopped in the opposite order: the worker first, then what is on its way is written, then the rest.
        for name, command in (
            ("API", ["aurea", "serve", "--port", str(self._port)]),
            ("writer", [*celery, "aurea", "writer", "--loglevel", "WARNING"]),
            ("worker", [*celery, *worker, "--without-gossip", "--without-mingle"]),
        ):
            if name == "worker":
                self._closing.callback(self._settle)
            child = Child(name, command, environ=environ, folder=self._folder)
            self._closing.callback(child.stop)
            self._children.append(child)

    @property
    def _worker_name(self) -> str:
        return f"{self._queue}@{socket.gethostname()}"

    def _wait_for_children(self) -> None:
        writer = next(child for child in self._children if child.name == "writer")
        until = time.monotonic() + START_SECONDS
        is_ready = False
        while not is_ready:
            self.check()
            self._interrupts.pause()
            if time.monotonic() > until:
                words = "\n".join(f"{child.name}: {child.last_words()}" for child in self._children)
                raise ExampleError(f"the processes were not ready after {START_SECONDS:g} s. {words}", status=1)
            is_writing = any(one.is_well for one in running_writers(writer.pid, self._folder))
            is_ready = is_writing and self.client.is_healthy() and self._worker_answers()

    def _worker_answers(self) -> bool:
        return bool(app.control.ping(destination=[self._worker_name], timeout=0.5, limit=1))

    def _settle(self) -> None:
        """Give the writer a moment for what the worker sent last, and for what it left unsent if it was killed."""
        worker = self._children[-1]
        left = f"*/{worker.pid}-*/*.seg"
        until = time.monotonic() + SETTLE_SECONDS
        with contextlib.suppress(AureaError):
            while (self.books().pending or any(self._outbox.glob(left))) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)

    def _delete_queue(self) -> None:
        """Leave nothing of this run in a broker that is not ours."""
        connection: Any = app.connection_for_write()
        with contextlib.suppress(*connection.recoverable_connection_errors), connection:
            queue = app.amqp.queues[self._queue](connection.default_channel)
            queue.declare()  # on Redis only a channel that knows the queue's bindings can remove them
            queue.delete()

    def _remove_folder(self) -> None:
        """Remove the private folder, unless it still holds events."""
        if any(self._outbox.rglob("*.seg")):
            self._console.print(f"Events that were not sent are kept in {self._outbox}")
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
