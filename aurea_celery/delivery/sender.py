"""What publisher and sync delivery need of a broker, and what both say when it does not answer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Protocol

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.receipts import Received
from aurea_celery.settings import Settings

QUEUE_CHECK_SECONDS, CHECKS_PER_FULL_QUEUE = 10.0, 20


class Sender(Protocol):
    """What is needed of a broker; :class:`aurea_celery.delivery.broker.Broker` is the real one."""

    @property
    def reply_to(self) -> str | None:
        """Where receipts are asked for, if they are."""

    def open_receipts(self) -> str | None:
        """Make sure that receipts can come; where to, None if they cannot."""

    def send(self, batch: bytes, event_count: int) -> None:
        """Publish a batch and return once the broker has it, or raise."""

    def receive(self) -> Received:
        """What writers have answered since the last call."""

    def waiting_messages(self) -> int:
        """How many messages wait in the queue."""

    def remove_receipts(self) -> None:
        """Remove the queue that receipts come to, at the end of the process; never raises."""

    def close(self) -> None:
        """Drop the connection."""


class Backlog:
    """Whether so many messages wait in the writer's queue that events better stay in the outbox."""

    def __init__(self, sender: Sender, settings: Settings) -> None:
        self._sender = sender
        self._settings = settings
        self._checked_at = float("-inf")
        self._sent_since_check = 0
        self._is_full = False

    def note_sent(self) -> None:
        """A message was sent."""
        self._sent_since_check += 1

    def is_full(self) -> bool:
        """What the broker says, asked every few seconds, and before this process alone could send much too much.

        Raises:
            Exception: Whatever the broker raises.
        """
        is_old = time.monotonic() - self._checked_at >= QUEUE_CHECK_SECONDS
        if is_old or self._sent_since_check > self._settings.queue_max_messages // CHECKS_PER_FULL_QUEUE:
            return self.look()
        return self._is_full

    def look(self) -> bool:
        """The same, asked now."""
        waiting = self._sender.waiting_messages()
        self._checked_at, self._sent_since_check = time.monotonic(), 0
        self._is_full = waiting >= self._settings.queue_max_messages
        if self._is_full:
            log_once_a_minute(
                "queue_full",
                logging.WARNING,
                "aurea-celery: %d messages wait in %s; events are kept in the outbox until a writer catches up. "
                "Start one: celery -A yourapp aurea writer",
                waiting,
                self._settings.queue,
            )
        return self._is_full


def note_no_answer(error: Exception, outbox: Path) -> None:
    """Say that the broker does not answer; the error's message may hold its password, so it stays out."""
    log_once_a_minute(
        "broker",
        logging.WARNING,
        "aurea-celery: cannot send to the broker (%s); events are kept in %s and sent when it answers",
        type(error).__name__,
        outbox,
    )
