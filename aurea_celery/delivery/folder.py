"""A process's outbox folder as the publisher sees it: read, commit, adopt, remove.

Only one process reads a folder: its owner, the main process of its worker, or, once the owner is dead, whoever
holds the lock. Nothing is removed before the broker has confirmed it, so a crash in between sends some events twice;
the writer knows them by their ``event_id``.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import CALL, DAMAGED, DONE, HEAD, OPEN, close_lost, unpack
from aurea_celery.events import Source


class Parcel(NamedTuple):
    """Finished events of one source, and where the folder stands once they are confirmed."""

    source: Source
    events: list[bytes]
    segment: int
    offset: int


class _WithId(msgspec.Struct):
    event_id: str


_id_decoder = msgspec.json.Decoder(_WithId)


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
    """One outbox folder, with the position up to which the broker has confirmed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._segment = 0
        self._offset = 0
        self._source: Source | None = None
        self._lock_fd = -1

    @property
    def adopted(self) -> bool:
        """Whether its owner is dead and this process holds its lock."""
        return self._lock_fd >= 0

    def adopt(self) -> bool:
        """Take the lock of a dead owner; False while the owner, or another adopter, is alive."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
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
        self._lock_fd = descriptor
        return True

    def read(self, limit: int) -> Parcel | None:
        """The next finished events, at most ``limit``; None if there is nothing to tell.

        The list of segments is taken before reading: when a later one is already there, this one is complete.
        """
        for segment in self._segments():
            if segment < self._segment:
                continue
            parcel = self._read_segment(segment, limit)
            if parcel is None:
                continue
            if parcel.events or parcel.source.dropped != (self._source.dropped if self._source else {}):
                return parcel
            self.commit(parcel)
        return None

    def commit(self, parcel: Parcel) -> None:
        """The broker has confirmed a parcel: remember the place and remove the segments before it."""
        moved_on = parcel.segment > self._segment
        self._segment, self._offset, self._source = parcel.segment, parcel.offset, parcel.source
        for segment in self._segments() if moved_on else ():
            if segment < self._segment:
                self._path_of(segment).unlink(missing_ok=True)

    def read_lost(self) -> Parcel | None:
        """The executions that a dead owner left open, closed as lost. For when :meth:`read` has nothing left."""
        opened: dict[str, bytes] = {}
        calls: dict[str, list[bytes]] = {}
        source = self._source
        for segment in self._segments():
            for kind, payload, _ in unpack(self._path_of(segment).read_bytes()):
                if kind == HEAD:
                    source = source or msgspec.json.decode(payload, type=Source)
                elif kind == OPEN:
                    # The last one says most; a segment that carries an execution on repeats its calls too.
                    event_id = _event_id(payload)
                    opened[event_id], calls[event_id] = payload, []
                elif kind == CALL:
                    calls.get(_event_id(payload), []).append(payload)
                elif kind == DONE:
                    opened.pop(_event_id(payload), None)
        if not opened or source is None:
            return None
        lost = [event for event_id, payload in opened.items() if (event := close_lost(payload, calls[event_id]))]
        dropped = dict(source.dropped)
        if len(lost) < len(opened):
            dropped["unreadable"] = dropped.get("unreadable", 0) + len(opened) - len(lost)
        source = msgspec.structs.replace(source, captured=source.captured + len(opened), dropped=dropped)
        return Parcel(source, lost, self._segment, self._offset)

    def remove(self) -> None:
        """Remove the folder of a dead owner, everything in it being confirmed, and let go of its lock."""
        for entry in os.scandir(self.path):
            Path(entry.path).unlink(missing_ok=True)
        self.path.rmdir()
        self.release()

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self.adopted:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _segments(self) -> list[int]:
        try:
            return sorted(int(entry.name[:-4]) for entry in os.scandir(self.path) if entry.name.endswith(".seg"))
        except FileNotFoundError:
            return []

    def _path_of(self, segment: int) -> Path:
        return self.path / f"{segment:010d}.seg"

    def _read_segment(self, segment: int, limit: int) -> Parcel | None:
        """What a segment holds after the place that is confirmed; None if that is nothing."""
        offset = self._offset if segment == self._segment else 0
        with self._path_of(segment).open("rb") as file:
            file.seek(offset)
            data = file.read()
        source, events = self._source, []
        captured, dropped = (source.captured, dict(source.dropped)) if source else (0, {})
        for kind, payload, size in unpack(data):
            offset += size
            if kind == DONE:
                events.append(payload)
                captured += 1
            elif kind == HEAD:
                source = msgspec.json.decode(payload, type=Source)
                captured = source.captured
                dropped |= source.dropped
            elif kind == DAMAGED:
                dropped["damaged"] = dropped.get("damaged", 0) + 1
                captured += 1
            if len(events) == limit:
                break
        if source is None or not data:
            return None
        source = msgspec.structs.replace(source, captured=captured, dropped=dropped)
        return Parcel(source, events, segment, offset)
