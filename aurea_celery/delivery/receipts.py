"""Receipts: what was sent stays in the outbox until the writer says that it is committed.

A broker may forget: a Redis without persistence that is restarted has confirmed what it no longer has. So each batch
names itself and a queue to answer to, and the writer sends its name there after the commit, over the same broker: the
user's process needs neither a database nor a result backend. A receipt may be lost too; then the batch is sent again,
and the database knows its events.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from aurea_celery.budget import BudgetStates
from aurea_celery.delivery.segment import Place


class Received(NamedTuple):
    """What writers have answered: the names of batches that are committed, and the states of budgets."""

    batch_ids: set[str]
    budgets: list[BudgetStates]


NOTHING = Received(set(), [])


def read_answers(answers: Iterable[Any]) -> Received:
    """Read answers: the name of a batch, or with it what the sender has asked for; others are passed over."""
    received = Received(set(), [])
    for answer in answers:
        if isinstance(answer, str):
            received.batch_ids.add(answer)
            continue
        with contextlib.suppress(msgspec.ValidationError):
            known = msgspec.convert(answer, _Answer)
            received.batch_ids.add(known.batch_id)
            if known.budgets is not None:
                received.budgets.append(known.budgets)
    return received


class _Answer(msgspec.Struct):
    batch_id: str
    budgets: BudgetStates | None = None


@dataclass(slots=True)
class _Sent:
    """A batch on its way; ``begin`` is where its part of the folder begins, ``at`` is monotonic, in seconds."""

    batch_id: str
    begin: Place
    at: float
    is_received: bool = False


class InFlight:
    """What was sent of one folder and has no receipt yet, oldest first."""

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self._unanswered_since = 0.0
        self._times_sent_again = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def begins(self) -> list[Place]:
        """Where each of it begins."""
        return [one.begin for one in self._sent]

    @property
    def is_overtaken(self) -> bool:
        """Whether something that was sent later has its receipt already."""
        return any(one.is_received for one in self._sent)

    def add(self, batch_id: str, begin: Place) -> None:
        """A batch was sent."""
        now = time.monotonic()
        if not self._sent and not self._times_sent_again:
            self._unanswered_since = now
        self._sent.append(_Sent(batch_id, begin, now))

    def receive(self, batch_ids: set[str]) -> None:
        """Receipts have come."""
        for one in self._sent:
            one.is_received = one.is_received or one.batch_id in batch_ids
        while self._sent and self._sent[0].is_received:
            self._sent.popleft()
            self._unanswered_since, self._times_sent_again = time.monotonic(), 0

    def is_overdue(self, seconds: float) -> bool:
        """Whether the oldest has waited for so long, or for twice as long after each time that it was sent again."""
        return bool(self._sent) and time.monotonic() - self._sent[0].at > seconds * 2**self._times_sent_again

    def send_again(self) -> None:
        """Everything is sent again."""
        self._sent.clear()
        self._times_sent_again += 1

    def trust(self, *, after_seconds: float, most: int) -> None:
        """Leave to the broker what nobody has answered for too long, and what is too much to keep."""
        if self._sent and time.monotonic() - self._unanswered_since > after_seconds:
            self._sent.clear()
            self._times_sent_again = 0
        while len(self._sent) > most:
            self._sent.popleft()
