"""What a message holds: events that can be read, and what cannot, with the reason. Pure; made for hostile input."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from aurea_celery.events import Receipt, Source, TaskEvent, decode_batch, decode_event
from aurea_celery.storage.bookkeeping import Way


class Unreadable(NamedTuple):
    """A payload that is not one of ours, and why."""

    reason: str
    payload: str


class Delivered(NamedTuple):
    """One source's part of a batch: events that can be read, and payloads that cannot."""

    source: Source
    events: list[TaskEvent]
    unreadable: list[Unreadable]
    through: Way = "queue"


class Message(NamedTuple):
    """What a message holds, the receipt that its sender asks for, and whether most of it came already."""

    delivered: list[Delivered]
    receipt: Receipt | None
    is_repetition: bool


def read_batch(batch: str | bytes) -> Message:
    """Read a message's batch, each event by itself.

    Raises:
        msgspec.DecodeError: If it is not a batch; nothing else, whatever it is.
    """
    decoded = decode_batch(batch)
    delivered = [_delivered(one.source, one.events) for one in decoded.sources]
    return Message(delivered, decoded.receipt, decoded.is_repetition)


def _delivered(source: Source, raw_events: list[msgspec.Raw]) -> Delivered:
    events, unreadable = [], []
    for raw in raw_events:
        try:
            events.append(decode_event(raw))
        except msgspec.DecodeError as error:
            unreadable.append(Unreadable(str(error), bytes(raw).decode("utf-8", "replace")))
    return Delivered(source, events, unreadable)
