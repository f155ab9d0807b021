"""The demo's child processes: each with its log, none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from worker_example.errors import ExampleError

REPOSITORY = Path(__file__).resolve().parent.parent
STOP_SECONDS = 20.0
LAST_LINES = 10


class Child:
    """A command in a process group of its own, so that Ctrl-C in the terminal does not reach it, with a log file.

    Args:
        name: What to call it when it fails.
        command: A console script of this environment, and its arguments.
        environ: Its whole environment.
        folder: Where its log goes.
    """

    def __init__(self, name: str, command: list[str], *, environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name.replace(' ', '-')}.log"
        script, *arguments = command
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sysconfig.get_path("scripts"), script), *arguments],
                cwd=REPOSITORY,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ExampleError: If it has ended, with its last words.
        """
        status = self._process.poll()
        if status is not None:
            raise ExampleError(f"the {self.name} ended early, with status {status}. {self.last_words()}", status=1)

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
        return "\n  ".join(["Its last lines were:", *lines]) if lines else "It said nothing."

    def stop(self) -> None:
        """Ask it to finish what it is doing and end; kill what is left of its group after a while."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
