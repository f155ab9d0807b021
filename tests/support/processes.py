"""Real processes for tests: a user's worker, the writer, scripts; each with its log, none left behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.servers import wait_until

STOP_SECONDS = 30.0


class Process:
    """A child process in a session of its own, with its output in a file; as root it may be another user's."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        user: pwd.struct_passwd | None = None,
    ) -> None:
        self.log_path = folder / f"{name}.log"
        self.name = name
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**clean_environ(), **environ},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **identity_of(user),
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def wait_for(self, text: str, *, seconds: float = 60.0) -> Self:
        """Wait until it has said something."""

        def said() -> bool:
            if text in self.log:
                return True
            if self.status is not None:
                raise RuntimeError(f"{self.name} ended with status {self.status}:\n{self.log[-4000:]}")
            return False

        wait_until(said, f"{self.name} saying {text!r}", seconds=seconds)
        return self

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; its exit status."""
        return self._process.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> int:
        """Send a signal until it has ended; its exit status.

        A busy Celery 5.7 worker on Redis, with or without the plugin, sometimes begins its warm shutdown and then
        sleeps until the next signal or message.
        """
        while True:
            self.send(number)
            try:
                return self.wait(5)
            except subprocess.TimeoutExpired:
                continue

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to whatever is left of its session."""
        if self.status is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)
        for pid in session_of(self.pid):
            os.kill(pid, signal.SIGKILL)

    def children(self) -> list[int]:
        """The pids of its direct children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def identity_of(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """What makes a subprocess this user's; None is ourselves."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


Serve = Callable[..., Process]
"""Starts a command with an environment; its words are those after ``python -m``."""


def clean_environ() -> dict[str, str]:
    """Our environment without what would change the behaviour of the product."""
    unwanted = ("AUREA_", "DATABASE_URL", "PORT", "CELERY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def processes_with(setting: str) -> list[int]:
    """The living processes that were started with ``NAME=value`` in their environment, as far as we may look."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getsid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found
