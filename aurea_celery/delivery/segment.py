"""Reading a segment: which events it holds, and how far the counters of its process have come with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import DAMAGED, DONE, HEAD, LEFT, Head, LeftOut, unpack
from aurea_celery.events import Source

_left_out = msgspec.json.Decoder(LeftOut)

FIRST_SEGMENT = 1


class Place(NamedTuple):
    """How far a folder has been read, the counters of its source there, and how many events it had written by then.

    The latter is None where the beginning of a folder is no longer there, and no head has said it yet.
    """

    segment: int
    offset: int
    source: Source
    recorded: int | None


class Parcel(NamedTuple):
    """Finished events of one source, where the folder stands once they are confirmed, and whether more are there.

    ``damaged`` is not 0 if something on the way there could not be read; of how many events, the counters tell.
    """

    source: Source
    events: list[bytes]
    end: Place
    has_more: bool
    damaged: int = 0


def segment_name(segment: int) -> str:
    """Return the name of a segment's file; names sort as their numbers do."""
    return f"{segment:010d}.seg"


def read_segment(path: Path, begin: Place, limit: int, *, is_complete: bool = False) -> Parcel | None:
    """What a segment holds from a place on, at most ``limit`` events; None if that is nothing.

    A segment begins with how many events its process had written before it. Where that is more than were read, the
    rest was damaged, or somebody has removed it: they are counted as dropped. Without a readable head the counters are
    what was read.
    """
    with path.open("rb") as file:
        file.seek(begin.offset)
        data = file.read()
    _, offset, source, recorded = begin
    events: list[bytes] = []
    grown: Counter[str] = Counter()
    damaged = 0
    for kind, payload, size in unpack(data, is_complete=is_complete):
        offset += size
        if kind == DONE:
            events.append(payload)
            grown["captured"] += 1
        elif kind == HEAD:
            head = msgspec.json.decode(payload, type=Head)
            gone = 0 if recorded is None else head.recorded - recorded - grown["captured"]
            if gone > 0:
                source = with_dropped(source, reason := _why_gone(path), gone)
                damaged += gone if reason == "damaged" else 0
            source = msgspec.structs.replace(head.source, dropped=source.dropped | head.source.dropped)
            recorded = head.recorded
            grown.clear()
        elif kind == LEFT:
            grown[_left_out.decode(payload).reason] += 1
        elif kind == DAMAGED:
            damaged += 1
        if len(events) == limit:
            break
    if not data:  # also where its process died when it was about to begin: the one before says what is open
        return None
    source = _grown(source, grown)
    end = Place(begin.segment, offset, source, None if recorded is None else recorded + grown["captured"])
    return Parcel(source, events, end, has_more=len(events) == limit, damaged=damaged)


def with_dropped(source: Source, reason: str, count: int) -> Source:
    """Return a process that has dropped some more of its events."""
    dropped = {**source.dropped, reason: source.dropped.get(reason, 0) + count}
    return msgspec.structs.replace(source, dropped=dropped)


def _why_gone(path: Path) -> str:
    """Return why events before a segment could not be read: with the segment before it, or in it."""
    before = path.with_name(segment_name(int(path.stem) - 1))
    return "damaged" if before.exists() else "outbox_removed"


def _grown(source: Source, grown: Counter[str]) -> Source:
    """A source with what its lines since the last head add to its counters."""
    return msgspec.structs.replace(
        source,
        captured=source.captured + grown["captured"],
        excluded=source.excluded + grown["excluded"],
        sampled_out=source.sampled_out + grown["sampled_out"],
    )
