"""The lines of an outbox segment.

A segment is a text file of lines ``KIND CRC32 PAYLOAD``: one letter, eight hexadecimal digits of the payload's CRC-32,
and JSON without a line break. A line that was cut short or damaged is recognised and skipped, never shipped.

========  ==========================================================================================
``HEAD``  first line of each segment: the process with its counters at that moment
``OPEN``  an execution has begun: the event as it will be if the process dies now; the last one of several counts
``CALL``  a model call of an open execution, written when it happened
``DONE``  the final event; what came before of the same execution no longer matters
``LEFT``  an execution that the settings leave out; if it had begun, its ``event_id``
``VOID``  an ``OPEN`` line whose execution ended while the disk was full: its event went through memory
========  ==========================================================================================
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from aurea_celery.events import Identifier, Microseconds, ModelCall, Omission, Source, TaskEvent, Verdict, encode

HEAD, OPEN, CALL, DONE, LEFT, VOID = b"H", b"O", b"C", b"D", b"L", b"V"
DAMAGED = b"-"
_PREFIX_BYTES = 11
WORKER_LOST = "WorkerLostError"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a ``HEAD`` line: a process, and how many of its events are in this segment's predecessors."""

    source: Source
    recorded: int = 0


class RecordedCall(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a ``CALL`` line."""

    event_id: Identifier
    at_us: Microseconds
    call: ModelCall


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a ``LEFT`` line."""

    reason: Omission
    event_id: Identifier | None = None


class Record(NamedTuple):
    """One line; if it is damaged, with ``kind`` ``DAMAGED`` where it was an event, else empty."""

    kind: bytes
    payload: bytes
    size: int


def pack(kind: bytes, payload: bytes) -> bytes:
    """Make one line; the checksum covers the payload, so that an ``OPEN`` can be turned into a ``VOID`` in place.

    >>> list(unpack(pack(DONE, b"{}")))
    [Record(kind=b'D', payload=b'{}', size=14)]
    """
    return b"%b %08x %b\n" % (kind, zlib.crc32(payload), payload)


def unpack(data: bytes) -> Iterator[Record]:
    """Read whole lines."""
    for line in data.split(b"\n")[:-1]:
        kind, payload = line[:1], line[_PREFIX_BYTES:]
        intact = line[1:_PREFIX_BYTES] == b" %08x " % zlib.crc32(payload)
        yield Record(kind if intact else DAMAGED if kind == DONE else b"", payload, len(line) + 1)


def close(open_payload: bytes, calls: list[bytes], verdict: Verdict | None) -> bytes | None:
    """Close an execution whose process died: its last sign of life is its end, what it had spent is counted.

    None if its lines make no event. Without a verdict the result depends on the lines alone, so that whoever closes it,
    and however often, makes the same event.
    """
    try:
        event = msgspec.json.decode(open_payload, type=TaskEvent)
        recorded = [msgspec.json.decode(call, type=RecordedCall) for call in calls]
    except msgspec.DecodeError:
        return None
    ended_at_us = max([event.ended_at_us, *(one.at_us for one in recorded)])
    event = msgspec.structs.replace(
        event,
        ended_at_us=ended_at_us,
        latency_us=max(event.latency_us, ended_at_us - event.started_at_us),
        calls=event.calls + tuple(one.call for one in recorded),
    )
    return encode(cut_short(event, verdict))


def cut_short(event: TaskEvent, verdict: Verdict | None) -> TaskEvent:
    """An execution that did not reach its end, as it is written down; Celery's own name for a death without a cause."""
    status, error_type = verdict or Verdict("lost")
    return msgspec.structs.replace(event, status=status, error_type=error_type or event.error_type or WORKER_LOST)
