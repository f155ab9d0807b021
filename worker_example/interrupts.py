"""Ctrl-C and its kin, taken at safe points only: a half-started server cannot be stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

POLL_SECONDS = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The user, or the system, wants the demo to end.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Interrupts:
    """Remembers the first signal, until somebody looks."""

    def __init__(self) -> None:
        self._number = 0
        for number in SIGNALS:
            signal.signal(number, self._note)

    def check(self) -> None:
        """A safe point.

        Raises:
            Interrupted: If a signal has come.
        """
        if self._number:
            raise Interrupted(self._number)

    def pause(self, seconds: float = POLL_SECONDS) -> None:
        """Wait a moment, at a safe point.

        Raises:
            Interrupted: If a signal has come.
        """
        self.check()
        time.sleep(seconds)
        self.check()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = self._number or number


@contextmanager
def shielded_children() -> Iterator[None]:
    """What is started inside does not get the terminal's Ctrl-C: it inherits the blocked signal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
