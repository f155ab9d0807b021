"""The lines of an outbox segment.

A segment is a text file of lines ``KIND CRC32 PAYLOAD``: one letter, eight hexadecimal digits of the payload's CRC-32,
and JSON without a line break. A line that was cut short or damaged is recognised and skipped, never shipped; what is
intact beside the damage is read.

========= ==========================================================================================
``HEAD``  first line of each segment: the process with its counters at that moment
``OPEN``  an execution has begun: the event as it will be if the process dies now; the last one of several counts
``CALL``  a model call of an open execution, written when it happened
``DONE``  the final event; what came before of the same execution no longer matters
``LEFT``  an execution that the settings leave out; if it had begun, its ``event_id``
``VOID``  an ``OPEN`` line whose execution goes on elsewhere: its event went through memory, or to another folder
``COUNT`` not in segments: how many events the process has captured, see :mod:`aurea_celery.delivery.lock_file`
========= ==========================================================================================
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from aurea_celery.events import Identifier, Microseconds, ModelCall, Omission, Source, TaskEvent, Verdict, encode

HEAD, OPEN, CALL, DONE, LEFT, VOID, COUNT = KINDS = b"H", b"O", b"C", b"D", b"L", b"V", b"N"
DAMAGED = b""
_PREFIX_BYTES = 11
_PREFIX = re.compile(rb"(?s:.) [0-9a-f]{8} ")
_SEEDS = {bytes([letter]): zlib.crc32(bytes([letter])) for letter in range(256)} | {VOID: zlib.crc32(OPEN)}
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
    """One line; or, of kind ``DAMAGED``, a piece of the file that is none."""

    kind: bytes
    payload: bytes
    size: int


def pack(kind: bytes, payload: bytes) -> bytes:
    """Make one line; the checksum covers the kind too, but an ``OPEN`` can be turned into a ``VOID`` in place.

    >>> list(unpack(pack(DONE, b"{}")))
    [Record(kind=b'D', payload=b'{}', size=14)]
    """
    return b"%b %08x %b\n" % (kind, zlib.crc32(payload, _SEEDS[kind]), payload)


def unpack(data: bytes, *, is_complete: bool = False) -> Iterator[Record]:
    """Read lines; of what follows the last line break something only if nobody writes there any more."""
    *lines, rest = data.split(b"\n")
    for line in lines:
        kind, payload = line[:1], line[_PREFIX_BYTES:]
        if line[1:_PREFIX_BYTES] == b" %08x " % zlib.crc32(payload, _SEEDS.get(kind, 0)):
            yield Record(kind, payload, len(line) + 1)
        else:
            yield from _salvage(line)
    if is_complete and rest:
        yield from _salvage(rest)


def _salvage(line: bytes) -> Iterator[Record]:
    """Read what is intact of a line that is not: without the line break between them two are one, to begin with."""
    begins = [found.start() for found in _PREFIX.finditer(line)]
    read = 0
    for begin in begins:
        ends = (*(later - 1 for later in begins if later > begin), len(line)) if begin >= read else ()
        for end in ends:
            if kind := _kind_of(line[begin:end]):
                if begin > read:
                    yield Record(DAMAGED, b"", begin - read)
                yield Record(kind, line[begin + _PREFIX_BYTES : end], end + 1 - begin)
                read = end + 1
                break
    if read <= len(line):
        yield Record(DAMAGED, b"", len(line) + 1 - read)


def _kind_of(line: bytes) -> bytes:
    """Return of which kind a line is by its checksum, also if its letter is another one; nothing if it is of none."""
    checksum, payload = line[1:_PREFIX_BYTES], line[_PREFIX_BYTES:]
    fitting = [kind for kind in KINDS if checksum == b" %08x " % zlib.crc32(payload, _SEEDS[kind])]
    return min(fitting, key=lambda kind: (kind[0] ^ line[0]).bit_count(), default=DAMAGED)


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
