"""A process's outbox folder as the publisher sees it: read, commit, adopt, remove.

Only one process reads a folder: its owner, the main process of its worker, or, once the owner is dead, whoever
holds the lock. Nothing is removed before it has arrived, so a crash in between sends some events twice; the writer
knows them by their ``event_id``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.lock_file import LOCK, read_owner, unknown_source
from aurea_celery.delivery.receipts import InFlight
from aurea_celery.delivery.records import CALL, DONE, LEFT, OPEN, VOID, LeftOut, close, unpack
from aurea_celery.delivery.segment import (
    FIRST_SEGMENT,
    Parcel,
    Place,
    read_segment,
    segment_name,
    with_dropped,
)
from aurea_celery.events import Source, Verdict


class OpenExecution(NamedTuple):
    """The lines of an execution that has not ended."""

    payload: bytes
    calls: list[bytes]


VerdictOn = Callable[[str], Verdict | None]
"""What is said of an execution, by its ``event_id``."""


class _WithId(msgspec.Struct):
    event_id: str
    parent_event_id: str | None = None


_id_decoder = msgspec.json.Decoder(_WithId)
_left_out = msgspec.json.Decoder(LeftOut)


def _event_id(payload: bytes) -> str:
    """Whose line it is; the rest of it is not looked at."""
    return _id_decoder.decode(payload).event_id


def is_owned(path: Path) -> bool:
    """Whether a folder is there and a living process holds its lock."""
    folder = Folder(path)
    free = folder.adopt()
    folder.release()
    return not free and path.exists()


class Folder:
    """One outbox folder, with the place up to which it was sent, and what of that has no receipt yet.

    ``adopted_at`` is when this process took it over, on the monotonic clock, in seconds; ``is_closed`` once what a dead
    owner left open was sent too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_flight = InFlight()
        self.is_closed = False
        self._place: Place | None = None
        self._kept_from = 0
        self._sent_bytes: dict[int, int] = {}  # by segment, of those that are sent to their end and still there
        self._lock_fd = -1
        self.adopted_at = 0.0

    @property
    def adopted(self) -> bool:
        """Whether its owner is dead and this process holds its lock."""
        return self._lock_fd >= 0

    def adopt(self) -> bool:
        """Take the lock of a dead owner; False while the owner, or another adopter, is alive."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not os.fstat(descriptor).st_nlink:  # another adopter has removed the folder in between
            os.close(descriptor)
            return False
        self._lock_fd, self.adopted_at = descriptor, time.monotonic()
        return True

    def read(self, limit: int) -> Parcel | None:
        """The next finished events, at most ``limit``; None if there is nothing to tell.

        The list of segments is taken before reading: when a later one is already there, this one is complete.
        """
        segments = self._segments(self._place.segment if self._place else 0)
        for segment in segments:
            is_complete = self.adopted or segment != segments[-1]
            parcel = read_segment(self._path_of(segment), self._begin_of(segment), limit, is_complete=is_complete)
            if parcel is None:
                continue
            if parcel.events or _says_more(parcel.source, self._place):
                return parcel._replace(has_more=parcel.has_more or is_complete)  # the count of a dead owner, too
            self.commit(parcel)
        return self._read_count()

    def commit(self, parcel: Parcel, batch_id: str | None = None) -> None:
        """The broker has confirmed a parcel; as part of a named batch it is kept until its receipt has come."""
        segment = parcel.end.segment
        if batch_id is not None:
            self.in_flight.add(batch_id, self._begin_of(segment))
        if self._place and segment > self._place.segment:
            self._sent_bytes[self._place.segment] = self._place.offset
        self._place = parcel.end
        self.remove_sent()
        if parcel.damaged:
            log_once_a_minute(
                "damaged",
                logging.ERROR,
                "aurea-celery: the outbox folder %s is damaged; what could not be read there is counted as dropped. "
                "Check the disk",
                self.path,
            )

    def send_again(self) -> None:
        """What has no receipt was lost: the next :meth:`read` begins there, unless somebody has removed it."""
        there = (begin for begin in self.in_flight.begins if self._path_of(begin.segment).exists())
        self._place = next(there, self._place)
        self.in_flight.send_again()
        self.is_closed = False

    def trust_broker(self, *, after_seconds: float, most_bytes: int) -> None:
        """Leave to the broker what nobody has answered for too long, and what takes too much of the disk."""
        self.in_flight.trust(after_seconds)
        excess = sum(self._sent_bytes.values()) - most_bytes
        for segment, size in tuple(self._sent_bytes.items()):
            if excess <= 0:
                break
            self.in_flight.trust_segment(segment)
            excess -= size
        self.remove_sent()

    def remove_sent(self) -> None:
        """Remove the segments of which everything has arrived.

        Of a dead owner's the last two stay: the last begins with what is open, unless it is damaged.
        """
        keep = self.in_flight.oldest or self._place
        if keep and (keep_from := keep.segment - self.adopted) > self._kept_from:
            self._kept_from = keep_from
            self._sent_bytes = {segment: size for segment, size in self._sent_bytes.items() if segment >= keep_from}
            for segment in self._segments():
                if segment < keep_from:
                    self._path_of(segment).unlink(missing_ok=True)

    def read_open(self) -> dict[str, OpenExecution]:
        """The executions that a dead owner left open. For when :meth:`read` has nothing left."""
        opened: dict[str, OpenExecution] = {}
        for segment in self._segments():
            for kind, payload, _ in unpack(self._path_of(segment).read_bytes(), is_complete=True):
                if kind == OPEN:
                    # The last one says most; a segment that carries an execution on repeats its calls too.
                    opened[_event_id(payload)] = OpenExecution(payload, [])
                elif kind == CALL and (execution := opened.get(_event_id(payload))):
                    execution.calls.append(payload)
                elif kind in (DONE, VOID):
                    opened.pop(_event_id(payload), None)
                elif kind == LEFT:
                    opened.pop(_left_out.decode(payload).event_id or "", None)
        return opened

    def close_open(self, opened: dict[str, OpenExecution], verdict_on: VerdictOn) -> Parcel | None:
        """Close what a dead owner left open; None if that is nothing."""
        place = self._place
        if not opened or place is None:
            return None
        closed = [
            close(one.payload, one.calls, _verdict_on(event_id, opened, verdict_on)) for event_id, one in opened.items()
        ]
        events = [event for event in closed if event is not None]
        source = msgspec.structs.replace(place.source, captured=place.source.captured + len(opened))
        if len(events) < len(opened):
            source = with_dropped(source, "unreadable", len(opened) - len(events))
        return Parcel(source, events, place._replace(source=source), has_more=False)

    def remove(self) -> None:
        """Remove the folder of a dead owner, everything in it being confirmed, and let go of its lock.

        Between the last two steps another process may take over what is an empty folder now; it removes it then.
        """
        for segment in self._segments():
            self._path_of(segment).unlink(missing_ok=True)
        (self.path / LOCK).unlink(missing_ok=True)  # last: without it nobody could take the folder over
        try:
            self.path.rmdir()
        except OSError as error:
            if not self._is_taken_over(error):
                raise
        self.release()

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self.adopted:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _is_taken_over(self, error: OSError) -> bool:
        """Return whether the folder was not removed because another process has made its lock anew, or removed it."""
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            return error.errno == errno.ENOENT
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in self.path.iterdir()} <= {LOCK}
        return True

    def _segments(self, first: int = 0) -> list[int]:
        """Return the numbers of the segments from a number on, in their order; those before may be many."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - names only
        except FileNotFoundError:
            return []
        first_name = segment_name(first)
        return sorted(int(name[:-4]) for name in names if name >= first_name and name.endswith(".seg"))

    def _read_count(self) -> Parcel | None:
        """What the segments do not tell of: events in their process's memory, and, once it is dead, what is gone."""
        count, place = read_owner(self.path).counted, self._place or self._begin_of(0)
        if count is None:
            return None
        gone, captured = 0, max(place.source.captured, count.captured)
        if place.recorded is not None:
            in_memory = count.captured - count.recorded - (place.source.captured - place.recorded)
            gone = max(0, count.recorded - place.recorded) if self.adopted else 0
            captured = place.source.captured + max(0, in_memory) + gone
        if captured == place.source.captured or not (self.adopted or place.recorded is not None):
            return None
        source = msgspec.structs.replace(place.source, captured=captured)
        if gone:
            is_there = self._path_of(place.segment).exists()
            source = with_dropped(source, "damaged" if is_there else "outbox_removed", gone)
        recorded = None if place.recorded is None else place.recorded + gone
        return Parcel(source, [], place._replace(source=source, recorded=recorded), has_more=False, damaged=gone)

    def _begin_of(self, segment: int) -> Place:
        """Where reading a segment begins: where the last read ended, or at its first line."""
        if self._place is None:
            head = read_owner(self.path).head
            source, recorded = (head.source, head.recorded) if head else (unknown_source(self.path), None)
            begins_here = segment == 0 or self._path_of(FIRST_SEGMENT).exists()
            return Place(segment, 0, source, recorded if begins_here else None)
        return self._place if segment == self._place.segment else self._place._replace(segment=segment, offset=0)

    def _path_of(self, segment: int) -> Path:
        return self.path / segment_name(segment)


def _verdict_on(event_id: str | None, opened: dict[str, OpenExecution], verdict_on: VerdictOn) -> Verdict | None:
    """What is said of an execution, or of one around it that is open too: what cut that short cut short this one."""
    while event_id in opened:
        if verdict := verdict_on(event_id):
            return verdict
        event_id = _id_decoder.decode(opened[event_id].payload).parent_event_id
    return None


def _says_more(source: Source, place: Place | None) -> bool:
    """Whether counters other than the number of events have grown."""
    before = ({}, 0, 0) if place is None else (place.source.dropped, place.source.excluded, place.source.sampled_out)
    return (source.dropped, source.excluded, source.sampled_out) != before
