"""The outbox: where an event is safe as soon as the handler returns.

Each process of the host has one folder with append-only segment files (:mod:`aurea_celery.delivery.records`), owned
through a lock on its ``lock`` file. One event is one ``write(2)`` and no fsync: it survives the death of the process,
though not of the machine. The folder of a pool child is named ``PARENT.OWN``, so that the worker's main process, which
ships it, knows its own.

When the disk cannot be written, finished events are kept in memory, bounded, and sent from there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from aurea_celery._guard import log_once_a_minute
from aurea_celery.clock import new_event_id, now_us
from aurea_celery.delivery.overflow import Overflow
from aurea_celery.delivery.records import CALL, DONE, HEAD, LEFT, OPEN, VOID, Head, LeftOut, RecordedCall, pack
from aurea_celery.delivery.segment import segment_name
from aurea_celery.events import ModelCall, Omission, Source, TaskEvent, clean_text, encode

R = TypeVar("R")

SEGMENT_BYTES = 256 * 1024
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _OpenExecution:
    """The lines of an execution that has not ended, and where the first of them stands on disk."""

    lines: list[bytes]
    segment: int = 0
    offset: int = 0


class Outbox:
    """One process's folder of events on their way. Thread-safe; not to be used across a fork."""

    def __init__(self, root: Path, *, batch_events: int, max_bytes: int, parent: str | None = None) -> None:
        self.root = root
        self._parent = parent
        self._take_name()
        self.overflow = Overflow()
        self._source = Source(source_id=new_event_id(), host=clean_text(socket.gethostname()), pid=os.getpid())
        self._batch_events = batch_events
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._is_busy = False
        self._lock_fd = self._segment_fd = -1
        self._segment = self._segment_events = self._segment_size = self._carried_size = self._room = 0
        self._captured = self._in_memory = 0
        self._dropped: Counter[str] = Counter()
        self._left_out: Counter[Omission] = Counter()
        self._open: dict[str, _OpenExecution] = {}
        self._closed_until = self._look_at = 0.0
        self._full = False

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
        return self._lock_fd >= 0

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
        execution = _OpenExecution([line])
        if self._append(line):
            execution.segment, execution.offset = self._segment, self._segment_size - len(line)
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
            self._void(execution)
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
            self._rotate_if_due()
            return payload
        if execution is not None:
            self._void(execution)
        if self._full:
            self._dropped["outbox_full"] += 1
            return None
        if self.overflow.put(payload):
            self._in_memory += 1
        else:  # the oldest one there had to go
            self._dropped["memory_full"] += 1
        return payload

    def _is_last_on_disk(self, line: bytes) -> bool:
        try:
            return self._path_of(self._segment).read_bytes().endswith(line)
        except OSError:
            return False

    def close(self, *, after_fork: bool = False) -> None:
        """Let go of the files; what is in the folder stays for whoever ships it.

        After a fork the child only closes its copies of the descriptors: the lock stays with the parent.
        """
        if after_fork:
            self._close_files()
            return
        with self._lock:
            if self._dropped and self._lock_fd >= 0:
                self._close_segment()
                with contextlib.suppress(OSError):
                    self._start_segment()  # it begins with the counters
            self._close_files()

    def _close_files(self) -> None:
        self._close_segment()
        descriptor, self._lock_fd = self._lock_fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _close_segment(self) -> None:
        # Forgotten first: an interruption in between must not leave a number that may become a file of the host's.
        descriptor, self._segment_fd = self._segment_fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, line: bytes) -> bool:
        """Write a line whole or not at all; whether it is on disk."""
        if self._segment_fd >= 0 and self._is_removed():
            self._close_segment()
        if self._segment_fd < 0 and not self._ready():
            return False
        try:
            self._write(line)
        except OSError as error:
            self._give_up(error)
            return False
        return True

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
        self._room -= written

    def _ready(self) -> bool:
        """Whether there is a segment to write to; begins one if there is none and the disk allows."""
        if self._segment_fd >= 0:
            return True
        if time.monotonic() < self._closed_until:
            return False
        try:
            self._create_folder()
            self._full = self._is_full()
            if not self._full:
                self._start_segment()
        except OSError as error:
            self._give_up(error)
        return self._segment_fd >= 0

    def _give_up(self, error: OSError) -> None:
        """Keep events in memory for a moment, and say so."""
        self._closed_until = time.monotonic() + RETRY_SECONDS
        self._close_segment()
        log_once_a_minute(
            "outbox",
            logging.ERROR,
            "aurea-celery: cannot write to the outbox %s (%s); events are kept in memory and sent from there. "
            "Make the folder writable, free some disk, or set aurea_outbox_dir",
            self.root,
            error.strerror,
        )

    def _is_full(self) -> bool:
        """Whether the folder holds all that it may; looked up only after as much was written as there was room for."""
        if self._room <= 0:
            # A list, and not an iterator that an interruption would leave open.
            held = sum(_size_of(self.path / name) for name in os.listdir(self.path))  # noqa: PTH208
            self._room = self._max_bytes - held
        if self._room > 0:
            return False
        self._closed_until = time.monotonic() + RETRY_SECONDS
        log_once_a_minute(
            "outbox_full",
            logging.ERROR,
            "aurea-celery: the outbox %s holds aurea_outbox_max_bytes; new events are dropped and counted. "
            "Check that the broker is up and a writer runs: celery -A yourapp aurea writer",
            self.root,
        )
        return True

    def _create_folder(self) -> None:
        """Make the folder under a hidden name, lock it, then show it: nobody ever sees it unlocked."""
        if self._lock_fd >= 0 and os.fstat(self._lock_fd).st_nlink:
            return
        if self._lock_fd >= 0:
            self._note_removal()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists():  # this process closed its outbox before, and left something in it
            self._take_name()
        hidden = self.root / f".{self.name}"
        hidden.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(hidden / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(self.path)
        except BaseException:
            os.close(descriptor)
            raise
        self._lock_fd = descriptor

    def _note_removal(self) -> None:
        """Somebody has removed the folder: say so, and let go of its lock; the next one has the same name."""
        descriptor, self._lock_fd = self._lock_fd, -1
        os.close(descriptor)
        log_once_a_minute(
            "outbox_removed",
            logging.ERROR,
            "aurea-celery: the outbox folder %s was removed while in use; what was in it and not sent yet is lost, and "
            "is counted as dropped. Find out who removes it",
            self.path,
        )

    def _take_name(self) -> None:
        own = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.name = f"{self._parent}.{own}" if self._parent else own
        self.path = self.root / self.name

    def _rotate_if_due(self) -> None:
        """Leave a segment that holds a batch; the next line begins a new one."""
        grown = self._segment_size - self._carried_size
        if self._segment_events >= self._batch_events or grown >= SEGMENT_BYTES:
            self._close_segment()

    def _start_segment(self) -> None:
        """Begin a segment with who we are and the executions that are open, so that older segments can go.

        Whole or not at all: a reader takes a beginning for the end of what came before.
        """
        path = self._path_of(self._segment + 1)
        recorded = self._captured - self._in_memory - self._dropped.total()
        head = pack(HEAD, encode(Head(source=self.source, recorded=recorded)))
        carried = [b"".join(execution.lines) for execution in self._open.values()]
        self._segment_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._segment_size = 0
        try:
            self._write(b"".join([head, *carried]))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self._segment += 1
        self._segment_events, self._carried_size = 0, self._segment_size
        offset = len(head)
        for execution, lines in zip(self._open.values(), carried, strict=True):
            execution.segment, execution.offset = self._segment, offset
            offset += len(lines)

    def _void(self, execution: _OpenExecution) -> None:
        """Mark an execution on disk as ended, in place: that works on a full disk too."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path_of(execution.segment), os.O_WRONLY)
            try:
                os.pwrite(descriptor, VOID, execution.offset)
            finally:
                os.close(descriptor)

    def _path_of(self, segment: int) -> Path:
        return self.path / segment_name(segment)


def _size_of(path: Path) -> int:
    """A file's size in bytes; 0 if it is gone, because the publisher has sent it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
