"""A look at the outbox folders of this host from outside: what each process has captured. No lock is taken."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.lock_file import LOCK, read_owner, unknown_source, with_count
from aurea_celery.delivery.records import DONE, Record, unpack
from aurea_celery.delivery.segment import Place, read_segment
from aurea_celery.events import Identifier, Microseconds, Source


class FoundFolder(NamedTuple):
    """One process's folder, its process with the counters as they are now, and how long ago it captured something."""

    path: Path
    source: Source
    seconds_unseen: float


class OutboxLook(NamedTuple):
    """What was found below ``root``; ``unreadable`` counts the folders that cannot be read."""

    root: Path
    folders: list[FoundFolder]
    unreadable: int


class _Ended(msgspec.Struct):
    event_id: Identifier
    ended_at_us: Microseconds


def look_at_outbox(roots: Sequence[Path]) -> OutboxLook | None:
    """Look at every folder of the processes that send to one place; None if there has never been one."""
    folders, unreadable, is_there = [], 0, False
    for root in roots:
        try:
            paths = [path for path in root.iterdir() if path.name[0] != "."]
        except FileNotFoundError:
            continue
        except OSError:
            paths, unreadable = [], unreadable + 1
        is_there = True
        for path in paths:
            try:
                folders += _found(path)
            except FileNotFoundError:  # sent and removed meanwhile
                continue
            except (OSError, msgspec.DecodeError):
                unreadable += 1
    return OutboxLook(roots[0], folders, unreadable) if is_there else None


def events_in(path: Path) -> Iterator[list[tuple[str, int]]]:
    """Yield the finished events that a folder holds, segment by segment: their ids and when they ended.

    A segment that is sent and removed meanwhile holds none any more.
    """
    for segment in _segments(path):
        with contextlib.suppress(OSError):
            yield [
                key
                for record in unpack(segment.read_bytes(), is_complete=True)
                if record.kind == DONE
                for key in _key_of(record)
            ]


def _key_of(record: Record) -> Iterator[tuple[str, int]]:
    """Yield what tells an event from every other, if a release that we know has written it."""
    with contextlib.suppress(msgspec.DecodeError):
        ended = msgspec.json.decode(record.payload, type=_Ended)
        yield ended.event_id, ended.ended_at_us


def _found(path: Path) -> list[FoundFolder]:
    """Return a folder with its process; nothing if it is none.

    The last segment has all counters but that of what went into no segment, and may just be about to begin.
    """
    head, counted = read_owner(path)
    begin = Place(0, 0, head.source if head else unknown_source(path), None)
    parcels = (read_segment(segment, begin, sys.maxsize) for segment in _segments(path))
    source = next((parcel.source for parcel in parcels if parcel), head.source if head else None)
    if source is None:
        return []
    captured_at = (path / LOCK).stat().st_mtime
    return [FoundFolder(path, with_count(source, counted), max(0.0, time.time() - captured_at))]


def _segments(path: Path) -> list[Path]:
    """Return a folder's segments, newest first; none once it is sent and removed."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted((name for name in os.listdir(path) if name.endswith(".seg")), reverse=True)  # noqa: PTH208 - names only
        return [path / name for name in names]
    return []
