"""Whether the writers of this machine work: each one's heartbeat file, and what it says.

The writer takes no remote control, so nobody can ping it. Its event loop writes the time into a file of its own
instead, as long as it has all its pool's processes and none of its batches is stuck. The file is locked by the writer:
the file of one that was killed is not mistaken for that of one that hangs.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurea_celery.errors import ConfigurationError

BEAT_SECONDS = 2.0
MAX_SILENT_SECONDS = 30.0
"""After this time without a heartbeat a writer hangs, or is without broker or pool."""


class WriterHealth(NamedTuple):
    """One writer that runs on this machine.

    ``silent_seconds`` is the time since its last heartbeat; infinite before the first one.
    """

    pid: int
    silent_seconds: float

    @property
    def is_well(self) -> bool:
        """Whether its last heartbeat is recent."""
        return self.silent_seconds <= MAX_SILENT_SECONDS

    def as_dict(self) -> dict[str, object]:
        """Return what a program reads; ``silent_seconds`` is None before the first heartbeat."""
        silent_seconds = None if self.silent_seconds == math.inf else round(self.silent_seconds, 3)
        return {"pid": self.pid, "is_well": self.is_well, "silent_seconds": silent_seconds}

    def as_text(self) -> str:
        """Return one sentence."""
        if self.is_well:
            return f"the writer with process id {self.pid} works"
        since = "yet" if self.silent_seconds == math.inf else f"for {self.silent_seconds:.0f} seconds"
        return (
            f"the writer with process id {self.pid} has not worked {since}: it hangs, or has no broker, or no process "
            "that writes; look at its log, and restart it"
        )


class Heartbeat:
    """This process's heartbeat file; empty until the first beat.

    Raises:
        ConfigurationError: If the file cannot be made.
    """

    def __init__(self) -> None:
        self._path = _folder() / str(os.getpid())
        try:
            # Locked before it has its name: nobody may take it for the file of a dead writer.
            self._descriptor, unnamed = tempfile.mkstemp(prefix="new.", dir=self._path.parent)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            Path(unnamed).replace(self._path)
        except OSError as error:
            raise ConfigurationError(
                f"the writer cannot make its heartbeat file in {self._path.parent} ({error.strerror}); "
                "set TMPDIR to a folder that it can write"
            ) from None

    def beat(self) -> None:
        """Say that this writer works."""
        os.pwrite(self._descriptor, f"{time.monotonic():020.3f}\n".encode(), 0)

    def close(self) -> None:
        """Remove the file: the writer has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            os.close(self._descriptor)


def running_writers(pid: int | None = None, parent: Path | None = None) -> list[WriterHealth]:
    """Return the health of this user's writers on this machine, or in this container.

    Args:
        pid: Of this one only.
        parent: The folder for temporary files that the writers have, if it is another than that of this process.

    Raises:
        ConfigurationError: If their folder belongs to somebody else.
    """
    return [health for health in _read(_folder(parent)) if pid in (None, health.pid)]


def _read(folder: Path) -> Iterator[WriterHealth]:
    """Read the files whose writers live, and remove the others."""
    for path in folder.iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(FileNotFoundError), path.open("r+") as file:  # it may have ended meanwhile
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    beat = file.read()
                    yield WriterHealth(int(path.name), time.monotonic() - float(beat) if beat else math.inf)
                else:
                    path.unlink()


def _folder(parent: Path | None = None) -> Path:
    """The folder of heartbeat files, of this user alone.

    Raises:
        ConfigurationError: If it cannot be made, or belongs to somebody else.
    """
    folder = (parent or Path(tempfile.gettempdir())) / f"aurea-celery-writers-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be made ({error.strerror}); set TMPDIR to a folder that can be written"
        ) from None
    if status.st_uid != os.geteuid() or not folder.is_dir() or folder.is_symlink():
        raise ConfigurationError(f"{folder} belongs to somebody else; remove it, or set TMPDIR to another folder")
    return folder
