"""A user's installation: an app's worker and our writer as real processes, and the way to look at what they did."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis
import sqlalchemy as sa
from celery import Celery

from tests.support.databases import connected
from tests.support.processes import Process
from tests.support.servers import wait_until

ROOT = Path(__file__).parents[2]


class Written(NamedTuple):
    """What the database says."""

    executions: int
    input_tokens: int
    output_tokens: int
    token_count: int


class Installation:
    """One app, one broker, one database, one outbox folder."""

    def __init__(self, folder: Path, broker_url: str, database_url: str) -> None:
        self.folder, self.broker_url, self.database_url = folder, broker_url, database_url
        self.outbox = folder / "outbox"
        self.truth = folder / "truth"
        self.truth.touch()
        self.settings: dict[str, str] = {}
        self._processes: list[Process] = []
        self.app = Celery("client", broker=broker_url)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the user's processes."""
        return {
            "BROKER_URL": self.broker_url,
            "DATABASE_URL": self.database_url,
            "TRUTH": str(self.truth),
            "AUREA_OUTBOX_DIR": str(self.outbox),
            "AUREA_FLUSH_INTERVAL_SECONDS": "0.1",
            "AUREA_WRITER_VISIBILITY_TIMEOUT_SECONDS": "3",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
            "TMPDIR": str(self.folder),  # a pool that is killed leaves a folder behind
            **self.settings,
        }

    def worker(self, *options: str, app: str = "tests.support.user_app", **environ: str) -> Process:
        """Start a worker of the user's and wait until it is ready."""
        # As root Celery warns; with a pool of its own kind the name must differ.
        command = ["celery", "-A", app, "worker", "-l", "INFO", *options]
        return self.run(f"worker-{len(self._processes)}", command, environ).wait_for(" ready.")

    def writer(self, *options: str, app: str = "tests.support.user_app", **environ: str) -> Process:
        """Start our writer and wait until it is ready."""
        command = ["celery", "-A", app, "aurea", "writer", *options]
        return self.run(f"writer-{len(self._processes)}", command, environ).wait_for(" ready.")

    def run(self, name: str, command: list[str], environ: Mapping[str, str] | None = None) -> Process:
        """Start ``python -m command``."""
        return self.start(name, [sys.executable, "-m", *command], environ)

    def start(self, name: str, command: list[str], environ: Mapping[str, str] | None = None) -> Process:
        """Start a command."""
        process = Process(name, command, folder=self.folder, environ={**self.environ, **(environ or {})})
        self._processes.append(process)
        return process

    def send(self, task: str, *args: Any, **options: Any) -> None:
        """Publish a task of the user's app."""
        self.app.send_task(f"tests.support.user_app.{task}", args=args, **options)

    def send_many(self, task: str, arguments: list[tuple[Any, ...]]) -> None:
        """Publish many tasks over one connection."""
        with self.app.producer_pool.acquire() as producer:
            for args in arguments:
                self.send(task, *args, producer=producer)

    def written(self) -> Written:
        """Sums over the rows."""
        rows = self.query(
            "SELECT coalesce(sum(executions), 0)::int, coalesce(sum(input_tokens), 0)::int,"
            " coalesce(sum(output_tokens), 0)::int, coalesce(sum(token_count), 0)::int FROM metrics"
        )
        return Written(*rows[0])

    def query(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        with connected(self.database_url) as connection:
            return list(connection.execute(sa.text(statement), values))

    def truth_of(self, stage: str) -> list[tuple[str, int]]:
        """Of the executions that reached a stage, what they wrote down themselves: task id and tokens."""
        lines = [line.split() for line in self.truth.read_text().splitlines()]
        return [(task_id, int(tokens)) for task_id, reached, tokens in lines if reached == stage]

    def wait_for_executions(self, count: int, *, seconds: float = 60.0) -> None:
        """Wait until so many executions are in the database."""
        wait_until(lambda: self.written().executions >= count, f"{count} executions in the database", seconds=seconds)

    def length_of(self, name: str) -> int:
        """How many messages a queue, or Redis's index of those handed out, holds."""
        with redis.Redis.from_url(self.broker_url) as client:
            return int(client.zcard(name) if client.type(name) == b"zset" else client.llen(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.stop()
            print(f"--- {process.name}\n{process.log[-6000:]}")  # pytest shows it when the test fails
        print("--- outbox", *(str(path.relative_to(self.outbox)) for path in self.outbox.rglob("*")))
        self.app.close()
