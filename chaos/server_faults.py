"""Faults of the broker, of the database, of the way to it, and of the messages to the writers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from chaos.faults import BROKER, DATABASE, PATIENCE_SECONDS, Fault
from chaos.messages import Tap, Tapped
from chaos.proxy import Direction
from chaos.schedule import Step
from chaos.stack import Stack, execute, send_signal
from tests.support.servers import WAL_MEGABYTES

BACKLOG_MESSAGES, BACKLOG_SECONDS, LOOK_SECONDS = 1_200, 40.0, 2.0
READ_ONLY = {"default_transaction_read_only": "on"}
CARELESS = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "'repeatable read'",
    "timezone": "'Asia/Kathmandu'",
    "client_encoding": "SQL_ASCII",
}
"""What an administrator may find fast, or sound: rows and receipts must not depend on it."""

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = CURRENT_USER AND pid <> pg_backend_pid()"
)


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
            slot.kill()
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
            self.stack.forget_broker()
        self.stack.broker.start()


class ForgottenBacklog(AllWriters):
    """All writers are away until many messages wait; then the broker is killed and comes back empty."""

    @property
    def resources(self) -> set[str]:
        """All writers and the broker."""
        return {BROKER, *(slot.name for slot in self.stack.writers)}

    def strike(self) -> str:
        """Freeze the writers."""
        self._frozen = [pid for slot in self.stack.writers for pid in slot.family()]
        self._waiting, self._looked_at = 0, self.age_seconds
        for pid in self._frozen:
            send_signal(pid, signal.SIGSTOP)
        return f"no writer until {BACKLOG_MESSAGES:,} messages wait"

    def is_over(self) -> bool:
        """Whether so many wait, or as many as the tasks still make."""
        if self.age_seconds - self._looked_at > LOOK_SECONDS:
            self._waiting = self.stack.broker.messages("aurea_metrics", "aurea_metrics.unacked_index")
            self._looked_at = self.age_seconds
        return self._waiting >= BACKLOG_MESSAGES or self.age_seconds > BACKLOG_SECONDS

    def end(self) -> None:
        """Empty the broker, and thaw the writers."""
        self.stack.broker.kill()
        self.stack.forget_broker()
        self.stack.broker.start()
        for pid in self._frozen:
            send_signal(pid, signal.SIGCONT)


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


class OtherDefaults(Database):
    """Sessions that begin meanwhile have other defaults, and keep them for as long as they live; all begin anew.

    With ``crash`` PostgreSQL crashes at the end, which loses what was committed but not written to its log.
    """

    def __init__(self, stack: Stack, step: Step, *, settings: Mapping[str, str], crash: bool = False) -> None:
        self._settings, self._crash = settings, crash
        super().__init__(stack, step)

    def strike(self) -> str:
        """Set them."""
        settings = [f"{name} = {value}" for name, value in self._settings.items()]
        changes = [f"ALTER ROLE CURRENT_USER SET {setting}" for setting in settings]
        execute(self.stack.database_url, *changes, END_SESSIONS)
        return f"{', '.join(settings)} for {self.step.seconds:.1f} s"

    def end(self) -> None:
        """Take them back, for sessions that begin from now on."""
        if self._crash:
            self.stack.database.stop("immediate")
            self.stack.database.start()
        execute(self.stack.database_url, "ALTER ROLE CURRENT_USER RESET ALL")


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
