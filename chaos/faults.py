"""What every fault is.

A fault names the resources that it holds meanwhile; two that need the same one come after each other, all others may
overlap. What they are is in :mod:`chaos.process_faults` and :mod:`chaos.server_faults`.
"""

from __future__ import annotations

import time

from chaos.schedule import Step
from chaos.stack import Slot, Stack

BROKER, DATABASE, DISK = "broker", "database", "disk"
PATIENCE_SECONDS = 20.0
"""How long a fault waits for what must happen first."""


class Fault:
    """One fault on its way: :meth:`begin`, then :meth:`is_over` until it says so, then :meth:`end`."""

    def __init__(self, stack: Stack, step: Step) -> None:
        self.stack, self.step = stack, step
        self.slot = self.choose_slot()
        self._begun_at = 0.0

    @property
    def resources(self) -> set[str]:
        """What no other fault may hold meanwhile."""
        return {self.slot.name} if self.slot else set()

    def choose_slot(self) -> Slot | None:
        """The place whose process it meets, if it meets one."""
        return None

    def may_begin(self) -> bool:
        """Whether those that it meets are there."""
        return self.slot is None or self.slot.is_ready

    def begin(self) -> str:
        """Do it; to whom, for the log."""
        self._begun_at = time.monotonic()
        return self.strike()

    def strike(self) -> str:
        """What it does, and to whom."""
        raise NotImplementedError

    @property
    def age_seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._begun_at

    def is_over(self) -> bool:
        """Whether it has lasted long enough."""
        return self.age_seconds >= self.step.seconds

    def end(self) -> None:
        """Undo it."""
