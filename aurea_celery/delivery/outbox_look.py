"""A look at the outbox folders of this host from outside: what each process has captured. No lock is taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import DONE, unpack
from aurea_celery.delivery.segment import Place, read_segment
from aurea_celery.events import Microseconds, Source


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


def oldest_of_last(path: Path, count: int) -> int | None:
    """When the oldest of a folder's last events ended, in microseconds since the epoch; None if it is not there."""
    left, payload = count, None
    try:
        for segment in _segments(path):
            events = [record.payload for record in unpack(segment.read_bytes()) if record.kind == DONE]
            if events:
                payload = events[max(0, len(events) - left)]
            left -= len(events)
            if left <= 0:
                break
    except OSError:  # sent and removed meanwhile
        pass
    return msgspec.json.decode(payload, type=_Ended).ended_at_us if payload else None


def _source_of(path: Path) -> Source | None:
    """A process with its counters; its last segment has them all, but may just be about to begin."""
    for segment in _segments(path):
        parcel = read_segment(segment, Place(), sys.maxsize)
        if parcel is not None:
            return parcel.source
    return None


def _segments(path: Path) -> list[Path]:
    """A folder's segments, newest first."""
    names = sorted((name for name in os.listdir(path) if name.endswith(".seg")), reverse=True)  # noqa: PTH208 - names only
    return [path / name for name in names]
