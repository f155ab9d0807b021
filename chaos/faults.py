"""The faults: what each does, when it is over, what it undoes.

A fault names the resources that it holds meanwhile; two that need the same one come after each other, all others may
overlap.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from chaos import disk
from chaos.messages import Tap, Tapped
from chaos.proxy import Direction
from chaos.schedule import Step
from chaos.stack import Slot, Stack, pid_of, send_signal
from tests.support.servers import WAL_MEGABYTES

HOUR_SECONDS = 3600
PATIENCE_SECONDS = 20.0
ASK_AGAIN_SECONDS = 5.0
BROKER, DATABASE, DISK = "broker", "database", "disk"


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
        """Kill both; a signal to the child alone would be undone by its parent's end."""
        for pid in reversed(self._family):
            send_signal(pid, signal.SIGKILL)


class AllWriters(Fault):
    """What needs all writers."""

    @property
    def resources(self) -> set[str]:
        """All writers, and the way to the database."""
        return {DATABASE, *(slot.name for slot in self.stack.writers)}

    def may_begin(self) -> bool:
        """Whether all writers are there."""
        return all(slot.is_ready for slot in self.stack.writers)


class KilledInTransaction(AllWriters):
    """All writers are killed while one waits for the database: before its commit, or after one it did not hear of."""

    def __init__(self, stack: Stack, step: Step, *, held: Direction) -> None:
        self._held: Direction = held
        super().__init__(stack, step)

    def strike(self) -> str:
        """Hold what goes to the database, or what comes back."""
        self.stack.proxy.hold(self._held)
        return f"{self._held} held until a writer waits, then SIGKILL to all writers"

    def is_over(self) -> bool:
        """Whether a writer waits."""
        return self.stack.proxy.held_bytes(self._held) > 0 or self.age_seconds > PATIENCE_SECONDS

    def end(self) -> None:
        """Kill them all, and cut what they held."""
        for slot in self.stack.writers:
            for pid in slot.family() if slot.process.status is None else ():
                send_signal(pid, signal.SIGKILL)
        self.stack.proxy.reset()
        self.stack.proxy.release()


class BrokerAway(Fault):
    """The broker stops, or is killed, and comes back with its data; or without it, if it is one that forgets."""

    def __init__(self, stack: Stack, step: Step, *, kill: bool, forget: bool = False) -> None:
        self._kill, self._forget = kill, forget
        super().__init__(stack, step)

    @property
    def resources(self) -> set[str]:
        """The broker."""
        return {BROKER}

    def strike(self) -> str:
        """Stop it."""
        if self._kill:
            self.stack.broker.kill()
        else:
            self.stack.broker.stop()
        return f"away for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Start it again."""
        if self._forget:
            self.stack.broker.forget()
        self.stack.broker.start()


class Database(Fault):
    """What needs the way to the database."""

    @property
    def resources(self) -> set[str]:
        """The database, and the proxy before it."""
        return {DATABASE}


class DatabaseAway(Database):
    """PostgreSQL stops, in the given mode, and comes back."""

    def __init__(self, stack: Stack, step: Step, *, mode: str) -> None:
        self._mode = mode
        super().__init__(stack, step)

    def strike(self) -> str:
        """Stop it."""
        self.stack.database.stop(self._mode)
        return f"away for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Start it again."""
        self.stack.database.start()


class DatabaseDiskFull(Database):
    """PostgreSQL is restarted on a full disk: it can write its log ahead, but no table and no index can grow."""

    def strike(self) -> str:
        """Fill it."""
        self.stack.database.stop("fast")
        self.stack.database.start(most_file_bytes=WAL_MEGABYTES * 1024**2)
        return f"files of at most {WAL_MEGABYTES} MB for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Free it; a server that cannot write its pages does not stop in any other way."""
        self.stack.database.stop("immediate")
        self.stack.database.start()


class Cut(Database):
    """Every connection to the database is cut."""

    def __init__(self, stack: Stack, step: Step, *, half: bool) -> None:
        self._half = half
        super().__init__(stack, step)

    def may_begin(self) -> bool:
        """Whether there is a connection to cut."""
        return self.stack.proxy.connections > 0

    def strike(self) -> str:
        """Cut them."""
        proxy = self.stack.proxy
        return f"{proxy.half_close() if self._half else proxy.reset()} connections to the database"


class Slow(Database):
    """Everything between writers and database is late."""

    def strike(self) -> str:
        """Delay."""
        seconds = 0.05 + 0.002 * (self.step.choice % 100)
        self.stack.proxy.delay(seconds)
        return f"every piece {seconds:.2f} s late for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Hurry again."""
        self.stack.proxy.delay(0)


class Held(Database):
    """Nothing reaches the database, or nothing comes back, until the connections are cut."""

    def strike(self) -> str:
        """Hold one direction."""
        held: Direction = "requests" if self.step.choice % 2 else "replies"
        self.stack.proxy.hold(held)
        return f"{held} swallowed for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Cut what was held, and let new connections through."""
        self.stack.proxy.reset()
        self.stack.proxy.release()


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


class MessageTapped(AllWriters):
    """While the writers stand still, a message is taken from their queue and put back in another form."""

    def __init__(self, stack: Stack, step: Step, *, change: Callable[[Tapped], list[str]]) -> None:
        self._tap = Tap(stack.broker.url, change)
        super().__init__(stack, step)

    @property
    def resources(self) -> set[str]:
        """All writers and the broker."""
        return {BROKER, *(slot.name for slot in self.stack.writers)}

    def strike(self) -> str:
        """Freeze the writers, so that a message stays in the queue."""
        self._frozen = [pid for slot in self.stack.writers for pid in slot.family()]
        for pid in self._frozen:
            send_signal(pid, signal.SIGSTOP)
        return "the next message to the writers"

    def is_over(self) -> bool:
        """Whether one came by and was dealt with."""
        with suppress(OSError):  # the next try may do
            self.stack.planted.update(self._tap.take() or ())
        return self._tap.is_done or self.age_seconds > PATIENCE_SECONDS

    def end(self) -> None:
        """Thaw the writers."""
        for pid in self._frozen:
            send_signal(pid, signal.SIGCONT)
        self._tap.close()
