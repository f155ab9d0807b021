"""A look at the outbox folders of this host from outside: what each process has captured. No lock is taken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import DONE, Record, unpack
from aurea_celery.delivery.segment import Place, read_segment
from aurea_celery.events import Identifier, Microseconds, Source


class FoundFolder(NamedTuple):
    """One process's folder, and its process with the counters as they are now."""

    path: Path
    source: Source


class OutboxLook(NamedTuple):
    """What was found below ``root``; ``unreadable`` counts the folders that cannot be read."""

    root: Path
    folders: list[FoundFolder]
    unreadable: int


class _Ended(msgspec.Struct):
    event_id: Identifier
    ended_at_us: Microseconds


def look_at_outbox(root: Path) -> OutboxLook | None:
    """Every folder of the processes that send to one place; None if there has never been one."""
    try:
        paths = [path for path in root.iterdir() if path.name[0] != "."]
    except FileNotFoundError:
        return None
    except OSError:
        return OutboxLook(root, [], unreadable=1)
    folders, unreadable = [], 0
    for path in paths:
        try:
            source = _source_of(path)
        except FileNotFoundError:  # sent and removed meanwhile
            continue
        except (OSError, msgspec.DecodeError):
            unreadable += 1
            continue
        if source is not None:
            folders.append(FoundFolder(path, source))
    return OutboxLook(root, folders, unreadable)


def events_in(path: Path) -> Iterator[list[tuple[str, int]]]:
    """Yield the finished events that a folder holds, segment by segment: their ids and when they ended.

    A segment that is sent and removed meanwhile holds none any more.
    """
    for segment in _segments(path):
        with contextlib.suppress(OSError):
            yield [key for record in unpack(segment.read_bytes()) if record.kind == DONE for key in _key_of(record)]


def _key_of(record: Record) -> Iterator[tuple[str, int]]:
    """Yield what tells an event from every other, if a release that we know has written it."""
    with contextlib.suppress(msgspec.DecodeError):
        ended = msgspec.json.decode(record.payload, type=_Ended)
        yield ended.event_id, ended.ended_at_us


def _source_of(path: Path) -> Source | None:
    """A process with its counters; its last segment has them all, but may just be about to begin."""
    for segment in _segments(path):
        parcel = read_segment(segment, Place(), sys.maxsize)
        if parcel is not None:
            return parcel.source
    return None


def _segments(path: Path) -> list[Path]:
    """Return a folder's segments, newest first; none once it is sent and removed."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted((name for name in os.listdir(path) if name.endswith(".seg")), reverse=True)  # noqa: PTH208 - names only
        return [path / name for name in names]
    return []
