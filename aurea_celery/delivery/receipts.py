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
from typing import NamedTuple

import msgspec

from aurea_celery.budget import BudgetStates
from aurea_celery.delivery.segment import Place


class Received(NamedTuple):
    """What writers have answered: the names of batches that are committed, and the states of budgets."""

    batch_ids: set[str]
    budgets: list[BudgetStates]


NOTHING = Received(set(), [])


def read_answers(bodies: Iterable[str | bytes]) -> Received:
    """Read answers: the name of a batch, or with it what the sender has asked for; others are passed over.

    They are JSON, whatever the app accepts from others.
    """
    received = Received(set(), [])
    for body in bodies:
        with contextlib.suppress(msgspec.DecodeError):
            answer = msgspec.json.decode(body, type=str | _Answer)
            known = _Answer(answer) if isinstance(answer, str) else answer
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
        self._answered_at = float("-inf")
        self._times_sent_again = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def oldest(self) -> Place | None:
        """Where the oldest of it begins; None if there is nothing."""
        return self._sent[0].begin if self._sent else None

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
        self._sent.append(_Sent(batch_id, begin, time.monotonic()))

    def receive(self, batch_ids: set[str]) -> None:
        """Receipts have come."""
        if not batch_ids:
            return
        for one in self._sent:
            one.is_received = one.is_received or one.batch_id in batch_ids
        while self._sent and self._sent[0].is_received:
            self._sent.popleft()
            self._answered_at, self._times_sent_again = time.monotonic(), 0

    def is_overdue(self, seconds: float) -> bool:
        """Whether the oldest has waited for so long, or for twice as long after each time that it was sent again."""
        return bool(self._sent) and time.monotonic() - self._sent[0].at > seconds * 2**self._times_sent_again

    def send_again(self) -> None:
        """Everything is sent again."""
        self._sent.clear()
        self._times_sent_again += 1

    def trust(self, after_seconds: float) -> None:
        """Leave to the broker what was sent so long ago, if nobody has answered since."""
        until = time.monotonic() - after_seconds
        while self._sent and max(self._sent[0].at, self._answered_at) < until:
            self._sent.popleft()

    def trust_segment(self, segment: int) -> None:
        """Leave to the broker what was sent of a segment, and of those before it."""
        while self._sent and self._sent[0].begin.segment <= segment:
            self._sent.popleft()
