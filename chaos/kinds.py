"""Which fault a kind of the schedule is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from chaos.clock_faults import WritersDaysOff
from chaos.faults import Fault
from chaos.messages import duplicate, make_newer, make_older, truncate
from chaos.process_faults import (
    HOUR_SECONDS,
    ClockStepped,
    DiskFull,
    Frozen,
    FrozenThenKilled,
    OutboxRemoved,
    Signal,
)
from chaos.schedule import Step
from chaos.server_faults import (
    CARELESS,
    READ_ONLY,
    BrokerAway,
    Cut,
    DatabaseAway,
    DatabaseDiskFull,
    ForgottenBacklog,
    Held,
    KilledInTransaction,
    MessageTapped,
    OtherDefaults,
    Slow,
)
from chaos.stack import Stack

FAULTS: dict[str, Callable[[Stack, Step], Fault]] = {
    "child_killed": partial(Signal, group="worker", number=signal.SIGKILL, child=True),
    "child_terminated": partial(Signal, group="worker", number=signal.SIGTERM, child=True),
    "child_frozen": partial(Signal, group="worker", number=signal.SIGSTOP, child=True),
    "worker_killed": partial(Signal, group="worker", number=signal.SIGKILL),
    "worker_terminated": partial(Signal, group="worker", number=signal.SIGTERM),
    "worker_quit": partial(Signal, group="worker", number=signal.SIGQUIT),
    "worker_frozen": partial(Signal, group="worker", number=signal.SIGSTOP),
    "writer_killed": partial(Signal, group="writer", number=signal.SIGKILL),
    "writer_child_killed": partial(Signal, group="writer", number=signal.SIGKILL, child=True),
    "writer_terminated": partial(Signal, group="writer", number=signal.SIGTERM),
    "writer_quit": partial(Signal, group="writer", number=signal.SIGQUIT),
    "writer_frozen": partial(Frozen, group="writer", number=signal.SIGSTOP),
    "writer_killed_frozen": partial(FrozenThenKilled, group="writer", number=signal.SIGSTOP),
    "writers_killed_before_commit": partial(KilledInTransaction, held="requests"),
    "writers_killed_after_commit": partial(KilledInTransaction, held="replies"),
    "broker_restarted": partial(BrokerAway, kill=False),
    "broker_killed": partial(BrokerAway, kill=True),
    "broker_forgot": partial(BrokerAway, kill=True, forget=True),
    "backlog_forgotten": ForgottenBacklog,
    "database_disk_full": DatabaseDiskFull,
    "database_restarted": partial(DatabaseAway, mode="fast"),
    "database_crashed": partial(DatabaseAway, mode="immediate"),
    "database_read_only": partial(OtherDefaults, settings=READ_ONLY),
    "database_careless": partial(OtherDefaults, settings=CARELESS, crash=True),
    "connections_reset": partial(Cut, half=False),
    "connections_half_closed": partial(Cut, half=True),
    "connections_delayed": Slow,
    "connections_held": Held,
    "disk_full": DiskFull,
    "outbox_removed": OutboxRemoved,
    "clock_back": partial(ClockStepped, seconds=-HOUR_SECONDS),
    "clock_forward": partial(ClockStepped, seconds=HOUR_SECONDS),
    "writers_days_ahead": partial(WritersDaysOff, days=200),
    "writers_days_behind": partial(WritersDaysOff, days=-200),
    "message_duplicated": partial(MessageTapped, change=duplicate),
    "message_truncated": partial(MessageTapped, change=truncate),
    "message_of_older_version": partial(MessageTapped, change=make_older),
    "message_of_newer_version": partial(MessageTapped, change=make_newer),
}
