"""The outbox: where an event is safe as soon as the handler returns.

Each process of the host has one folder with append-only segment files (:mod:`aurea_celery.delivery.records`), owned
through a lock on its ``lock`` file. One event is one ``write(2)`` and no fsync: it survives the death of the process,
though not of the machine. The folder of a pool child is named ``PARENT.OWN``, so that the worker's main process, which
ships it, knows its own.

When the disk cannot be written, events go to a folder of the same name among the temporary files. When that cannot be
written either, finished ones are kept in memory, bounded, and sent from there; the lock file counts them where it can.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from aurea_celery._guard import log_once_a_minute
from aurea_celery.clock import new_event_id, now_us
from aurea_celery.delivery.overflow import Overflow
from aurea_celery.delivery.own_folder import OpenLines, OwnFolder, note_full, void_at
from aurea_celery.delivery.records import CALL, DONE, HEAD, LEFT, OPEN, Head, LeftOut, RecordedCall, pack
from aurea_celery.events import ModelCall, Omission, Source, TaskEvent, clean_text, encode

R = TypeVar("R")

SEGMENT_BYTES = 256 * 1024
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
EMERGENCY_BYTES = 16 * 1024 * 1024
"""Most that a process writes among the temporary files, which may be in memory or on the system's disk."""

RETURN_SECONDS = 10.0


class Outbox:
    """One process's folder of events on their way. Thread-safe; not to be used across a fork."""

    def __init__(
        self,
        root: Path,
        emergency_root: Path | None = None,
        *,
        batch_events: int,
        max_bytes: int,
        parent: str | None = None,
    ) -> None:
        self.root = root
        self.roots = (root, emergency_root) if emergency_root else (root,)
        self._parent = parent
        self._batch_events = batch_events
        self._max_bytes = max_bytes
        self._begin_anew()
        self.overflow = Overflow()
        self._source = Source(source_id=new_event_id(), host=clean_text(socket.gethostname()), pid=os.getpid())
        self._lock = threading.RLock()
        self._is_busy = False
        self._segment_fd = -1
        self._segment_events = self._segment_size = self._carried_size = 0
        self._captured = self._in_memory = 0
        self._dropped: Counter[str] = Counter()
        self._left_out: Counter[Omission] = Counter()
        self._open: dict[str, OpenLines] = {}
        self._stale: list[tuple[Path, int]] = []
        self._look_at = self._return_at = 0.0
        self._full = False

    def _begin_anew(self) -> None:
        """Take a name, and a folder of that name below each root, none of which is made yet."""
        own = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.name = f"{self._parent}.{own}" if self._parent else own
        limits = (self._max_bytes, min(self._max_bytes, EMERGENCY_BYTES))
        self.folders = [OwnFolder(*one) for one in zip(self.roots, (self.name,) * 2, limits, strict=False)]
        self._folder = self.folders[0]

    @property
    def is_of_child(self) -> bool:
        """Whether this process is a pool child, whose folders its parent reads."""
        return self._parent is not None

    @property
    def path(self) -> Path:
        """The folder that is written to now."""
        return self._folder.path

    @property
    def source(self) -> Source:
        """This process, with its counters as they are now."""
        return msgspec.structs.replace(
            self._source,
            captured=self._captured,
            dropped=dict(self._dropped),
            excluded=self._left_out["excluded"],
            sampled_out=self._left_out["sampled_out"],
        )

    @property
    def open_count(self) -> int:
        """How many executions have begun and not ended."""
        return len(self._open)

    def open_folder(self) -> bool:
        """Make the folder and take its lock, if that has not happened yet; whether it is there."""
        self._alone(self._ready)
        return any(folder.is_locked for folder in self.folders)

    def begin(self, event: TaskEvent) -> None:
        """Note that an execution has begun; ``event`` is what it will be if the process dies now.

        Called again for the same execution, the later event takes the place of the earlier.
        """
        self._alone(self._begin, event.event_id, pack(OPEN, encode(event)))

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """Note a model call of an open execution; the final event has it too."""
        line = pack(CALL, encode(RecordedCall(event_id=event_id, at_us=now_us(), call=call)))
        self._alone(self._add_call, event_id, line)

    def finish(self, event: TaskEvent) -> bytes | None:
        """Take the final event of an execution; as it is kept, or None if it had to be dropped, which is counted."""
        taken = self._alone(self._finish, event.event_id, encode(event))
        if taken is False:
            self._captured += 1
            self._dropped["interrupted_itself"] += 1
            return None
        return taken

    def leave_out(self, reason: Omission, event_id: str | None = None) -> None:
        """Count an execution that the settings leave out, and forget it if it had begun."""
        line = pack(LEFT, encode(LeftOut(reason=reason, event_id=event_id)))
        self._alone(self._leave_out, reason, event_id, line)

    def _alone(self, work: Callable[..., R], *args: object) -> R | Literal[False]:
        """Do one thing at a time; False if a signal's handler or the collector interrupts this thread doing another.

        A time limit may raise anywhere in here, also after a line was written and before that was noted. So the next
        line goes to a new segment then. The lock is entered by ``with``, which no signal can get between.
        """
        with self._lock:
            if self._is_busy:
                return False
            self._is_busy = True
            try:
                return work(*args)
            except BaseException:
                self._close_segment()
                raise
            finally:
                self._is_busy = False

    def _begin(self, event_id: str, line: bytes) -> None:
        execution = OpenLines([line])
        if self._append(line):
            execution.path, execution.offset = self._folder.last_segment, self._segment_size - len(line)
        self._open[event_id] = execution

    def _add_call(self, event_id: str, line: bytes) -> None:
        execution = self._open.get(event_id)
        if execution is not None:
            self._append(line)
            execution.lines.append(line)

    def _leave_out(self, reason: Omission, event_id: str | None, line: bytes) -> None:
        written = self._append(line)
        self._left_out[reason] += 1
        execution = self._open.pop(event_id, None) if event_id else None
        if execution is not None and not written:
            void_at(execution.path, execution.offset)
        self._rotate_if_due()

    def _finish(self, event_id: str, payload: bytes) -> bytes | None:
        line, captured = pack(DONE, payload), self._captured
        try:
            return self._take(event_id, payload, line)
        except BaseException:
            # The execution has ended all the same: what is on disk tells how far this came.
            self._close_segment()
            if self._is_last_on_disk(line):
                self._open.pop(event_id, None)
                self._captured = captured + 1
            else:
                self._captured = captured
                self._take(event_id, payload, line)
            raise

    def _take(self, event_id: str, payload: bytes, line: bytes) -> bytes | None:
        written = self._append(line)
        # Not before: an interruption must leave the execution open, and a new segment must not have counted it.
        execution = self._open.pop(event_id, None)
        self._captured += 1
        if written:
            self._segment_events += 1
            self._folder.count(self._captured, self._recorded - self._folder.recorded_elsewhere)
            self._rotate_if_due()
            return payload
        if execution is not None:
            void_at(execution.path, execution.offset)
        return self._keep_in_memory(payload)

    def _keep_in_memory(self, payload: bytes) -> bytes | None:
        """Keep an event that no folder takes; None if it is dropped. It is counted before it can be lost."""
        if self._full:
            self._dropped["outbox_full"] += 1
            self._note_count()
            return None
        self._in_memory += 1
        self._note_count()
        if not self.overflow.put(payload):  # the oldest one there had to go
            self._in_memory -= 1
            self._dropped["memory_full"] += 1
        return payload

    def _note_count(self) -> None:
        """Note in every folder what this process has captured, and how much of it is there."""
        for folder in self.folders:
            folder.count(self._captured, self._recorded_in(folder))

    def _recorded_in(self, folder: OwnFolder) -> int:
        """How many events the segments of a folder took."""
        return self._recorded - folder.recorded_elsewhere if folder is self._folder else folder.recorded

    @property
    def _recorded(self) -> int:
        """How many events the segments of all folders took."""
        return self._captured - self._in_memory - (self._dropped.total() if self._dropped else 0)

    def _is_last_on_disk(self, line: bytes) -> bool:
        try:
            return self._folder.last_segment.read_bytes().endswith(line)
        except OSError:
            return False

    def close(self, *, after_fork: bool = False) -> None:
        """Let go of the files; what is in the folder stays for whoever ships it.

        After a fork the child only closes its copies of the descriptors: the lock stays with the parent.
        """
        with contextlib.nullcontext() if after_fork else self._lock:
            if self._dropped and self._folder.is_locked and not after_fork:
                self._close_segment()
                with contextlib.suppress(OSError):
                    self._start_segment()  # it begins with the counters
            self._close_segment()
            for folder in self.folders:
                folder.close()

    def _close_segment(self) -> None:
        # Forgotten first: an interruption in between must not leave a number that may become a file of the host's.
        descriptor, self._segment_fd = self._segment_fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, line: bytes) -> bool:
        """Write a line whole or not at all; whether it is on disk."""
        if self._segment_fd >= 0 and (self._is_removed() or self._may_return()):
            self._close_segment()
        for _ in self.folders:
            if not self._ready():
                break
            try:
                self._write(line)
            except OSError as error:
                self._give_up(error)
            else:
                return True
        return False

    def _may_return(self) -> bool:
        """Whether it is time to see if the outbox itself can be written again."""
        return self._folder is not self.folders[0] and time.monotonic() > self._return_at

    def _is_removed(self) -> bool:
        """Whether somebody has removed the segment, and what is written to it would be gone. Looks once a second."""
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_SECONDS
        return not os.fstat(self._segment_fd).st_nlink

    def _write(self, data: bytes) -> None:
        written = os.write(self._segment_fd, data)
        if written < len(data):
            # A full disk takes what fits; the torn line must not stay in front of the next one.
            os.ftruncate(self._segment_fd, self._segment_size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._segment_size += written
        self._folder.note_written(written)

    def _ready(self) -> bool:
        """Whether there is a segment to write to; begins one if there is none and a disk allows."""
        if self._segment_fd >= 0:
            return True
        if any(folder.is_left_behind for folder in self.folders):
            self._begin_anew()
        for folder in self.folders:
            if not folder.is_resting and self._begin_in(folder):
                return True
            if self._full:
                return False
        return False

    def _begin_in(self, folder: OwnFolder) -> bool:
        """Begin a segment in a folder; False if it cannot be written, or holds all that it may."""
        self._go_on_in(folder)
        try:
            folder.make(self._head)
            has_room = folder.has_room()
            if has_room:
                self._start_segment()
        except OSError as error:
            self._give_up(error)
            return False
        self._full = not has_room and folder is self.folders[0]
        if has_room:
            self._void_stale()
        else:
            folder.rest(RETRY_SECONDS)
        if self._full:
            note_full(self.root)
        return has_room

    def _go_on_in(self, folder: OwnFolder) -> None:
        """Write to a folder from here on; its segments go on counting where they were."""
        if folder is not self._folder:
            self._folder.recorded = self._recorded_in(self._folder)
            folder.recorded_elsewhere = self._recorded - folder.recorded
            self._folder = folder
            self._return_at = time.monotonic() + RETURN_SECONDS

    def _give_up(self, error: OSError) -> None:
        """Let the folder be for a moment, and say so."""
        self._folder.rest(RETRY_SECONDS)
        self._full = False
        self._close_segment()
        elsewhere = "".join(f"in {root}, or " for root in self.roots[1:])
        log_once_a_minute(
            "outbox",
            logging.ERROR,
            "aurea-celery: cannot write to the outbox %s (%s); events are kept %sin memory and sent from there. "
            "Make the folder writable, free some disk, or set aurea_outbox_dir",
            self._folder.root,
            error.strerror,
            elsewhere,
        )

    def _rotate_if_due(self) -> None:
        """Leave a segment that holds a batch; the next line begins a new one."""
        grown = self._segment_size - self._carried_size
        if self._segment_events >= self._batch_events or grown >= SEGMENT_BYTES:
            self._close_segment()

    @property
    def _head(self) -> Head:
        """The process as it is now, for the beginning of a segment or a folder."""
        return Head(source=self.source, recorded=self._recorded_in(self._folder))

    def _start_segment(self) -> None:
        """Begin a segment with who we are and the executions that are open, so that older segments can go.

        Whole or not at all: a reader takes a beginning for the end of what came before.
        """
        path = self._folder.path_of(self._folder.segment + 1)
        head = pack(HEAD, encode(self._head))
        carried = [b"".join(execution.lines) for execution in self._open.values()]
        self._segment_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._segment_size = 0
        self._stale += [
            (one.path, one.offset) for one in self._open.values() if one.path and one.path.parent != path.parent
        ]
        try:
            self._write(b"".join([head, *carried]))
        except OSError:
            self._stale.clear()
            path.unlink(missing_ok=True)
            raise
        self._folder.segment += 1
        self._segment_events, self._carried_size = 0, self._segment_size
        offset = len(head)
        for execution, lines in zip(self._open.values(), carried, strict=True):
            execution.path, execution.offset = path, offset
            offset += len(lines)

    def _void_stale(self) -> None:
        """Void what was carried to another folder where it was: else it would be closed there too, as lost."""
        while self._stale:
            void_at(*self._stale[-1])
            self._stale.pop()
