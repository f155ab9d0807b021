"""A full disk without a disk of its own: the kernel refuses to let a process's files grow.

A process that obeys reads a flag file: the most bytes that a file of it may have. Like a full disk, the limit takes
what fits and refuses the rest of a write. Only the soft limit is changed, so that it can be lifted again.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from aurea_celery.delivery.outbox import RETRY_SECONDS


class Disk:
    """The disk of one process, which is as full as a flag file says."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag
        self._full_until = 0.0

    def obey(self) -> bool:
        """Take the limit of the flag file, or none if it is not there; whether an outbox may keep events in memory.

        That is so while there is a limit, and until an outbox that met it tries again.
        """
        try:
            limit = int(self._flag.read_text() or "0")
        except FileNotFoundError:
            limit = resource.RLIM_INFINITY
        was_full = _limit(limit) != resource.RLIM_INFINITY
        if was_full or limit != resource.RLIM_INFINITY:
            self._full_until = time.monotonic() + RETRY_SECONDS
        return time.monotonic() < self._full_until


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """Lift the limit for a while: the record of the truth is not on the disk that is full."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    _limit(resource.RLIM_INFINITY)
    try:
        yield
    finally:
        _limit(soft)


def fill(flag: Path, most_bytes: int) -> None:
    """Raise the flag, at once for every reader."""
    hidden = flag.with_suffix(".new")
    hidden.write_text(f"{most_bytes}")
    os.replace(hidden, flag)  # noqa: PTH105 - atomic, and named as what it is


def _limit(most_bytes: int) -> int:
    """Set the limit; which there was before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    return soft
