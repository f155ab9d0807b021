"""The lock file of an outbox folder: whose folder it is, and how much that process has captured.

It holds two lines like those of a segment (:mod:`aurea_celery.delivery.records`): ``COUNT``, written anew in place
after each event, and ``HEAD``, the process as it was when it made the folder. So what is gone from the folder can be
counted, whatever happened to it, and what a process keeps in memory too: writing in place works on a full disk.
"""

from __future__ import annotations

import errno
import os
import socket
import uuid
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import COUNT, HEAD, Head, pack, unpack
from aurea_celery.events import Source, clean_text, encode

LOCK = "lock"


class Count(NamedTuple):
    """How many events a process had captured, and how many of them it had written to this folder's segments."""

    captured: int
    recorded: int


class Owner(NamedTuple):
    """What a lock file says; None is what cannot be read. ``head`` is the process when it made the folder."""

    head: Head | None = None
    counted: Count | None = None


def write_owner(descriptor: int, head: Head) -> None:
    """Write the lock file of a new folder.

    Raises:
        OSError: If the disk does not take it whole; later lines in its place it does.
    """
    line = count_line(head.source.captured, head.recorded) + pack(HEAD, encode(head))
    if os.pwrite(descriptor, line, 0) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def count_line(captured: int, recorded: int) -> bytes:
    """Make the first line, which is always of the same length."""
    return pack(COUNT, b"%020d %020d" % (captured, recorded))


def read_owner(folder: Path) -> Owner:
    """Read the lock file of a folder.

    Raises:
        OSError: If it is there and cannot be read.
    """
    owner = Owner()
    try:
        data = (folder / LOCK).read_bytes()
    except FileNotFoundError:
        return owner
    for record in unpack(data):
        try:
            if record.kind == HEAD:
                owner = owner._replace(head=msgspec.json.decode(record.payload, type=Head))
            elif record.kind == COUNT:
                owner = owner._replace(counted=Count(*map(int, record.payload.split())))
        except (msgspec.DecodeError, ValueError, TypeError):  # of a later release
            continue
    return owner


def with_count(source: Source, count: Count | None) -> Source:
    """Return a process with all that it has captured, also what it could write to no segment."""
    captured = max(source.captured, count.captured if count else 0)
    return msgspec.structs.replace(source, captured=captured)


def unknown_source(folder: Path) -> Source:
    """Return a process for events of which no line says whose they are; for the same folder always the same."""
    pid = folder.name.rpartition(".")[2].partition("-")[0]
    source_id = str(uuid.uuid5(uuid.NAMESPACE_URL, folder.name))
    return Source(source_id=source_id, host=clean_text(socket.gethostname()), pid=int(pid) if pid.isdecimal() else 0)
