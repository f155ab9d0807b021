"""The writer: the Celery task that turns messages into rows.

It is registered on every app with the plugin, so that any worker told to consume the queue can write; but what it needs
(SQLAlchemy, prices) is imported when the first message arrives, so that no other process pays for it.

A message is acknowledged after the commit. While the database is down the task waits, for ever: the message stays with
the broker. When the worker is told to stop meanwhile, the message goes back to the queue.
"""

from __future__ import annotations

import functools
import logging
import mmap
import struct
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from celery import Task, signals
from celery.exceptions import Reject

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.broker import RECEIPTS, WRITE_TASK, Broker
from aurea_celery.errors import ConfigurationError, DatabaseError
from aurea_celery.events import Receipt
from aurea_celery.settings import Settings, require_database_url, sources

if TYPE_CHECKING:
    from celery import Celery

    from aurea_celery.storage.write import Writer

# The host's time limits are for its own tasks; Celery takes "none" as "the host's".
NO_LIMIT_SECONDS = 365 * 86_400
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, POLL_SECONDS = 0.5, 15.0, 0.25

_arguments: weakref.WeakKeyDictionary[Celery, Mapping[str, Any]] = weakref.WeakKeyDictionary()

# One byte shared with the pool's children: the main process is told to stop, they are not.
_stopping = mmap.mmap(-1, 1)

# And one time shared with them: when a child last said that it waits for the database.
_waited_at = mmap.mmap(-1, struct.calcsize("d"))


class WriterTask(Task):  # type: ignore[type-arg]  # generic in its type hints, but before Celery 5.7 not when it runs
    """A task whose options are ours: the host's annotations and defaults are for its own tasks."""

    # By name: only a worker's main process needs them.
    Request = "aurea_celery.writer_consumer:WriterRequest"
    Strategy = "aurea_celery.writer_consumer:take_as_json"

    @classmethod
    def annotate(cls) -> None:
        """Called by Celery to apply the host's ``task_annotations``."""


TASK_OPTIONS: dict[str, Any] = {
    "base": WriterTask,
    "rate_limit": 0,
    "shared": False,
    "ignore_result": True,
    "send_events": False,
    "track_started": False,
    "max_retries": None,
    "serializer": "json",
    "soft_time_limit": NO_LIMIT_SECONDS,
    "time_limit": NO_LIMIT_SECONDS,
}
"""What holds for every task of ours, whatever the host says of its own."""


def register(app: Celery, arguments: Mapping[str, Any]) -> None:
    """Make an app know the writer's task. Nothing heavy is imported."""

    def write(task: Any, batch: str) -> None:
        """Write one batch of events and return once it is committed."""
        settings = settings_of(app)
        try:
            receipt = write_metrics(settings, batch, task.request.id)
        except MemoryError:  # it would end the worker's main process
            raise Reject("there is not enough memory for this batch", requeue=True) from None
        if receipt is not None:
            _answer(app, settings, receipt)

    if app not in _arguments:  # a second plugin brings other arguments, not another task
        acknowledged = {"acks_late": True, "acks_on_failure_or_timeout": True, "reject_on_worker_lost": True}
        options = TASK_OPTIONS | acknowledged | {"name": WRITE_TASK, "bind": True}
        app.task(**options)(write)
    _arguments[app] = arguments
    signals.worker_init.connect(_note_start, weak=False, dispatch_uid="aurea_celery.writer_start")
    signals.worker_shutting_down.connect(_note_stop, weak=False, dispatch_uid="aurea_celery.writer_stop")


def settings_of(app: Celery) -> Settings:
    """The settings of an app's plugin.

    Raises:
        ConfigurationError: If a setting is unknown or does not fit.
    """
    return Settings.read(_arguments.get(app, {}), app.conf)


def sources_of(app: Celery) -> dict[str, str]:
    """Return where each setting of an app's plugin is taken from, in words."""
    return sources(_arguments.get(app, {}), app.conf)


def write_metrics(settings: Settings, batch: str, message_id: str) -> Receipt | None:
    """Write one batch and return once it is committed, with the receipt that its sender asks for.

    Raises:
        Reject: To give the message back to the broker, when the worker stops while the database is away.
    """
    wait_seconds = FIRST_WAIT_SECONDS
    while True:
        try:
            return _writer(settings).write(batch, message_id)
        except (DatabaseError, ConfigurationError) as error:
            log_once_a_minute(
                "writer",
                logging.ERROR,
                "aurea-celery: %s; the writer waits and tries again, nothing is lost",
                str(error).rstrip("."),
            )
        except MemoryError:
            raise
        except Exception as error:  # acknowledged it would be lost
            log_once_a_minute(
                "rejected",
                logging.ERROR,
                "aurea-celery: a batch could be neither written nor kept in the table metrics_rejected (%s); "
                "the writer waits and tries again, nothing is lost",
                type(error).__name__,
            )
        _wait(wait_seconds)
        wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)


def _answer(app: Celery, settings: Settings, receipt: Receipt) -> None:
    """Tell a sender that its batch is committed; if that fails it sends the batch again, which does no harm.

    One that asks for budgets is told of them too; one that does not may be older, and reads nothing but the name.
    """
    # A message may come from anywhere: nothing is sent to queues that are not for this.
    if not receipt.reply_to.startswith(f"{settings.queue}{RECEIPTS}"):
        return
    try:
        answer: Any = receipt.batch_id
        if receipt.asks_budgets:
            answer = {"batch_id": receipt.batch_id, "budgets": _budgets(settings)}
        _broker(app).answer(receipt.reply_to, answer)
    except Exception as error:  # the transports' errors share no base class
        log_once_a_minute(
            "receipt", logging.WARNING, "aurea-celery: a receipt could not be sent (%s)", type(error).__name__
        )


def _budgets(settings: Settings) -> Any:
    """The states of budgets, ready for JSON; None if the database does not say, and the sender asks again."""
    try:
        return msgspec.to_builtins(_writer(settings).budgets())
    except DatabaseError:
        return None


@functools.cache
def _broker(app: Celery) -> Broker:
    return Broker(app, settings_of(app))


def last_wait() -> float:
    """Return when a process of this pool last waited for the database, by the monotonic clock; 0 if none did."""
    (waited_at,) = struct.unpack("d", _waited_at[:])
    return float(waited_at)


def _wait(seconds: float) -> None:
    """Sleep, but give the message back as soon as the worker is told to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        struct.pack_into("d", _waited_at, 0, time.monotonic())
        if _stopping[0]:
            raise Reject("the worker stops while the database is away", requeue=True)
        time.sleep(POLL_SECONDS)


@functools.cache
def _writer_for(url: str) -> Writer:
    from aurea_celery.price_lists import pricing_of  # noqa: PLC0415 - heavy, and only for the process that writes
    from aurea_celery.storage.write import Writer  # noqa: PLC0415 - heavy, and only for the process that writes

    return Writer(url, pricing_of)


def _writer(settings: Settings) -> Writer:
    return _writer_for(require_database_url(settings))


def _note_start(**_: Any) -> None:
    """Called in the main process before the pool exists: a process may run one worker after another."""
    _stopping[0] = 0


def _note_stop(**_: Any) -> None:
    """Called in the main process inside a signal handler: one byte, nothing else."""
    _stopping[0] = 1
