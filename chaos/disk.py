"""A full disk without a disk of its own: the kernel refuses to let a process's files grow.

A process that obeys reads a flag file: the most bytes that a file of it may have. Like a full disk, the limit takes
what fits and refuses the rest of a write. Only the soft limit is changed, so that it can be lifted again.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path


def obey(flag: Path) -> bool:
    """Take the limit of the flag file, or none if it is not there; whether there is one."""
    try:
        limit = int(flag.read_text() or "0")
    except FileNotFoundError:
        limit = resource.RLIM_INFINITY
    _limit(limit)
    return limit != resource.RLIM_INFINITY


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


def _limit(most_bytes: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
