"""Where a smoke scenario runs: over local processes, or over containers. Both can be disturbed in the same ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from pytest_celery import CeleryTestSetup, CeleryTestWorker  # type: ignore[import-untyped]  # it has no type hints

from aurea_celery.embedded import EmbeddedValkey
from tests.support.installation import Installation

WORKER_OPTIONS = ("-l", "INFO", "-c", "2")
WORKER_ENVIRON = {"VISIBILITY_SECONDS": "3"}  # so that a killed worker's tasks are handed out again soon


class Deployment(Protocol):
    """A user's worker, our writer, a broker and a database, all running."""

    installation: Installation

    def kill_worker(self) -> None:
        """SIGKILL the worker with all its children."""

    def start_worker(self) -> None:
        """Start the worker again where it was killed: with the same outbox."""

    def restart_broker(self) -> None:
        """Stop the broker and start it again, with the same data at the same address."""


class LocalProcesses:
    """Worker and writer as processes of this machine, on the embedded servers."""

    def __init__(self, installation: Installation, broker: EmbeddedValkey) -> None:
        self.installation, self._broker = installation, broker
        installation.writer()
        self._worker = installation.worker(*WORKER_OPTIONS, **WORKER_ENVIRON)

    def kill_worker(self) -> None:
        """SIGKILL the worker; its children go with it."""
        self._worker.kill()

    def start_worker(self) -> None:
        """Start a worker with the same outbox."""
        self._worker = self.installation.worker(*WORKER_OPTIONS, **WORKER_ENVIRON)

    def restart_broker(self) -> None:
        """Stop Valkey and start it again."""
        self._broker.stop()
        self._broker.restart()


class Containers:
    """Worker, writer, broker and database as containers, by pytest-celery."""

    def __init__(self, installation: Installation, setup: CeleryTestSetup) -> None:
        self.installation, self._setup = installation, setup

    def kill_worker(self) -> None:
        """SIGKILL everything in the worker's container."""
        self._setup.worker.kill()

    def start_worker(self) -> None:
        """Start the same container again; what it wrote is still in it."""
        self._setup.worker.restart()

    def restart_broker(self) -> None:
        """Restart Redis's container."""
        self._setup.broker.restart()


class ContainerInstallation(Installation):
    """An installation whose processes are containers; only what the tasks wrote down must be fetched from there."""

    def __init__(self, folder: Path, broker_url: str, database_url: str, worker: CeleryTestWorker) -> None:
        super().__init__(folder, broker_url, database_url)
        self._worker: Any = worker

    def truth_of(self, stage: str) -> list[tuple[str, int]]:
        """What the tasks in the worker's container wrote down."""
        status, text = self._worker.container.exec_run(["cat", "/data/truth"])
        assert status == 0, text
        self.truth.write_bytes(text)
        return super().truth_of(stage)
