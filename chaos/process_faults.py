"""Faults of workers and writers: signals, their disk, their outbox, their clock."""

from __future__ import annotations

import shutil
import signal
import time

from chaos import disk
from chaos.faults import DISK, PATIENCE_SECONDS, Fault
from chaos.schedule import Step
from chaos.stack import Slot, Stack, pid_of, send_signal

HOUR_SECONDS = 3600
ASK_AGAIN_SECONDS = 5.0


class Signal(Fault):
    """A signal to the process of one place, or to one of its children."""

    def __init__(self, stack: Stack, step: Step, *, group: str, number: signal.Signals, child: bool = False) -> None:
        self._group, self._number, self._child = group, number, child
        super().__init__(stack, step)

    def choose_slot(self) -> Slot:
        """One of the workers, of the writers, or of all."""
        slots = {"worker": self.stack.workers, "writer": self.stack.writers}.get(self._group, self.stack.slots)
        return slots[self.step.choice % len(slots)]

    def strike(self) -> str:
        """Send it."""
        assert self.slot is not None
        children = self.slot.process.children()
        self._pid = children[self.step.choice % len(children)] if self._child else self.slot.process.pid
        if self._number not in (signal.SIGSTOP, signal.SIGTERM) or self._child:
            self.slot.touch(self._pid)
        self._struck = self.slot.process
        self._asked_at = time.monotonic()
        if not self._child and self._number is not signal.SIGSTOP:
            self.slot.is_told_to_end = True
        send_signal(self._pid, self._number)
        return f"{self._number.name} to {self._pid} of {self.slot.name}"

    def is_over(self) -> bool:
        """A frozen process: when the time is up; a child: at once; others: when they have ended."""
        if self._number is signal.SIGSTOP or self._child:
            return super().is_over()
        if self._struck.status is None and time.monotonic() - self._asked_at > ASK_AGAIN_SECONDS:
            self._insist()
        return self._struck.status is not None

    def _insist(self) -> None:
        """Ask again, then kill, as a supervisor would."""
        self._asked_at = time.monotonic()
        if self.age_seconds < PATIENCE_SECONDS:
            send_signal(self._pid, self._number)
        else:
            self.stack.touched.add(self._pid)
            send_signal(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Thaw."""
        if self._number is signal.SIGSTOP:
            send_signal(self._pid, signal.SIGCONT)


class Frozen(Signal):
    """A writer with its child, frozen for longer than the visibility timeout, so that another one gets its messages."""

    def strike(self) -> str:
        """Freeze both."""
        assert self.slot is not None
        self._family = self.slot.family()
        for pid in self._family:
            send_signal(pid, self._number)
        return f"SIGSTOP to all of {self.slot.name} for {self.step.seconds:.1f} s"

    def is_over(self) -> bool:
        """When the time is up."""
        return self.age_seconds >= self.step.seconds

    def end(self) -> None:
        """Thaw both."""
        for pid in self._family:
            send_signal(pid, signal.SIGCONT)


class FrozenThenKilled(Frozen):
    """A writer with its child, frozen, given a message by the broker, and then killed without ever having run again."""

    def end(self) -> None:
        """Kill both."""
        assert self.slot is not None
        self.slot.kill()


class DiskFull(Fault):
    """No file of a pool child can grow past some bytes; over when what ended meanwhile is in the database's hands."""

    @property
    def resources(self) -> set[str]:
        """The disk."""
        return {DISK}

    def strike(self) -> str:
        """Fill it."""
        most_bytes = (self.step.choice % 4) * 1_000
        disk.fill(self.stack.disk_flag, most_bytes)
        return f"files of at most {most_bytes} bytes for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Free it."""
        self.stack.disk_flag.unlink()


class OutboxRemoved(Signal):
    """The outbox folders of a worker and of its children are removed while they run."""

    def __init__(self, stack: Stack, step: Step) -> None:
        super().__init__(stack, step, group="worker", number=signal.SIGCONT)

    def strike(self) -> str:
        """Remove them; whose they were is remembered, since what was in them is lost."""
        assert self.slot is not None
        family = self.slot.family()
        removed = [path for path in self.stack.outbox_folders() if pid_of(path.name) in family]
        for path in removed:
            shutil.rmtree(path, ignore_errors=True)
        self.stack.removed |= dict.fromkeys(family, time.monotonic())
        return f"{len(removed)} folders of {self.slot.name}"

    def is_over(self) -> bool:
        """At once."""
        return True

    def end(self) -> None:
        """Nothing brings them back."""


class ClockStepped(Signal):
    """The wall clock of a worker, or of a writer, jumps by an hour, and back again."""

    def __init__(self, stack: Stack, step: Step, *, seconds: int) -> None:
        self._seconds = seconds
        super().__init__(stack, step, group="all", number=signal.SIGCONT)

    def strike(self) -> str:
        """Set it."""
        assert self.slot is not None
        self.stack.set_clock(self.slot, self._seconds)
        return f"{self._seconds:+d} s on {self.slot.name} for {self.step.seconds:.1f} s"

    def is_over(self) -> bool:
        """When the time is up."""
        return self.age_seconds >= self.step.seconds

    def end(self) -> None:
        """Set it right."""
        assert self.slot is not None
        self.stack.set_clock(self.slot, 0)
