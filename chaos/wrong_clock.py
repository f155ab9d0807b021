"""A wall clock that can be set from outside, for one process and its children: the monotonic clock goes on as ever.

It takes the place of ``time.time`` and ``time.time_ns``, so that it must be installed before anything imports these by
name.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

LOOK_SECONDS = 0.1

_true_time_ns = time.time_ns


class WrongClock:
    """The true time and as many seconds as a file says; 0 if there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset_ns, self._look_at = 0, 0.0

    def time_ns(self) -> int:
        """What ``time.time_ns`` says now."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            with contextlib.suppress(OSError, ValueError):
                self._offset_ns = int(self._path.read_text()) * 1_000_000_000
        return _true_time_ns() + self._offset_ns

    def time(self) -> float:
        """What ``time.time`` says now."""
        return self.time_ns() / 1_000_000_000

    def install(self) -> None:
        """Take the place of the true one in this process and in all that it forks."""
        time.time, time.time_ns = self.time, self.time_ns
