"""A folder that this process writes its events to: made under a hidden name, locked, and then shown."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.lock_file import LOCK, count_line, write_owner
from aurea_celery.delivery.records import VOID, Head
from aurea_celery.delivery.segment import segment_name
from aurea_celery.settings import temporary_folder


@dataclass(slots=True)
class OpenLines:
    """The lines of an execution that has not ended, and where the first of them stands on disk, if it does."""

    lines: list[bytes]
    path: Path | None = None
    offset: int = 0


def void_at(path: Path | None, offset: int) -> None:
    """Mark an execution on disk, if it is there, as ended there, in place: that works on a full disk too."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, VOID, offset)
        finally:
            os.close(descriptor)


class OwnFolder:
    """One folder of this process; nobody else writes there.

    ``segment`` is the number of its last one. ``recorded`` is how many events its segments took until the process went
    on in another folder, ``recorded_elsewhere`` how many other folders had taken when it came here. The process lets it
    be until ``rests_until``, on the monotonic clock, since it could not be written.
    """

    def __init__(self, root: Path, name: str, max_bytes: int) -> None:
        self.root, self.path = root, root / name
        self.segment = self.recorded = self.recorded_elsewhere = 0
        self.rests_until = 0.0
        self._max_bytes = max_bytes
        self._room = 0
        self._lock_fd = -1

    @property
    def is_locked(self) -> bool:
        """Whether it was made, and not let go of since."""
        return self._lock_fd >= 0

    @property
    def is_left_behind(self) -> bool:
        """Whether something is left in it since this process let go of it."""
        return not self.is_locked and os.path.lexists(self.path)

    def make(self, head: Head) -> None:
        """Make the folder and lock it, unless it is there; nobody ever sees it unlocked.

        Raises:
            OSError: If that does not work.
        """
        if self.is_locked and os.fstat(self._lock_fd).st_nlink:
            return
        if self.is_locked:
            self._note_removal()
        make_root(self.root)
        hidden = self.path.with_name(f".{self.path.name}")
        hidden.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_owner(descriptor, head)
            hidden.rename(self.path)
        except BaseException:
            os.close(descriptor)
            raise
        self._lock_fd, self._room = descriptor, 0

    def count(self, captured: int, recorded: int) -> None:
        """Note what the process has captured, and how much of it is here, as far as that works."""
        if self._lock_fd >= 0:
            try:
                os.pwrite(self._lock_fd, count_line(captured, recorded), 0)
            except OSError:
                return

    def has_room(self) -> bool:
        """Whether more may be written; looked up only after as much was written as there was room for.

        Raises:
            OSError: If the folder cannot be read.
        """
        if self._room <= 0:
            # A list, and not an iterator that an interruption would leave open.
            names = [name for name in os.listdir(self.path) if name != LOCK]  # noqa: PTH208 - names only
            self._room = self._max_bytes - sum(_size_of(self.path / name) for name in names)
        return self._room > 0

    def note_written(self, size: int) -> None:
        """Note that so many bytes were written."""
        self._room -= size

    @property
    def last_segment(self) -> Path:
        """The file of the last segment."""
        return self.path_of(self.segment)

    def path_of(self, segment: int) -> Path:
        """Return the file of a segment."""
        return self.path / segment_name(segment)

    def rest(self, seconds: float) -> None:
        """Let it be for a while."""
        self.rests_until = time.monotonic() + seconds

    @property
    def is_resting(self) -> bool:
        """Whether that while is not over."""
        return time.monotonic() < self.rests_until

    def close(self) -> None:
        """Let go of the lock; what is in the folder stays."""
        descriptor, self._lock_fd = self._lock_fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _note_removal(self) -> None:
        """Somebody has removed the folder: say so, and let go of its lock; the next one has the same name."""
        self.close()
        log_once_a_minute(
            "outbox_removed",
            logging.ERROR,
            "aurea-celery: the outbox folder %s was removed while in use; what was in it and not sent yet is lost, and "
            "is counted as dropped. Find out who removes it",
            self.path,
        )


def note_full(root: Path) -> None:
    """Say that a process's outbox holds all that it may."""
    log_once_a_minute(
        "outbox_full",
        logging.ERROR,
        "aurea-celery: the outbox %s holds aurea_outbox_max_bytes; new events are dropped and counted. "
        "Check that the broker is up and a writer runs: celery -A yourapp aurea writer",
        root,
    )


def make_root(root: Path) -> None:
    """Make a folder for outboxes; among the temporary files only in one that is this user's alone.

    Raises:
        OSError: If that does not work, or somebody else has made the folder of this user's name.
    """
    base = temporary_folder()
    if base in root.parents:
        base.mkdir(mode=0o700, exist_ok=True)
        if not is_private(base):
            raise PermissionError(errno.EPERM, "somebody else may write there")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)


def may_be_read(root: Path) -> bool:
    """Return whether nobody else can have put something into a folder for outboxes."""
    base = temporary_folder()
    return base not in root.parents or is_private(base)


def is_private(folder: Path) -> bool:
    """Return whether a folder is this user's, and nobody else may use it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _size_of(path: Path) -> int:
    """A file's size in bytes; 0 if it is gone, because the publisher has sent it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
