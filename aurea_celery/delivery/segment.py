"""Reading a segment: which events it holds, and how far the counters of its process have come with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from aurea_celery.delivery.records import DAMAGED, DONE, HEAD, LEFT, Head, LeftOut, unpack
from aurea_celery.events import Source

_left_out = msgspec.json.Decoder(LeftOut)


class Place(NamedTuple):
    """How far a folder has been read, the counters of its source there, and how many events it had written by then."""

    segment: int = 0
    offset: int = 0
    source: Source | None = None
    recorded: int = 0


class Parcel(NamedTuple):
    """Finished events of one source, where the folder stands once they are confirmed, and whether more are there."""

    source: Source
    events: list[bytes]
    end: Place
    has_more: bool


def segment_name(segment: int) -> str:
    """Return the name of a segment's file; names sort as their numbers do."""
    return f"{segment:010d}.seg"


def read_segment(path: Path, begin: Place, limit: int) -> Parcel | None:
    """What a segment holds from a place on, at most ``limit`` events; None if that is nothing.

    A segment begins with how many events its process had written before it. Where that is more than were read,
    somebody has removed the rest: they are counted as dropped.
    """
    with path.open("rb") as file:
        file.seek(begin.offset)
        data = file.read()
    _, offset, source, recorded = begin
    events: list[bytes] = []
    grown: Counter[str] = Counter()
    for kind, payload, size in unpack(data):
        offset += size
        if kind == DONE:
            events.append(payload)
            grown["captured"] += 1
        elif kind == HEAD:
            head = msgspec.json.decode(payload, type=Head)
            source = _with_counters_of(source, head, removed=head.recorded - recorded)
            recorded = head.recorded
            grown.clear()
        elif kind == LEFT:
            grown[_left_out.decode(payload).reason] += 1
        elif kind == DAMAGED:
            grown.update(("captured", "damaged"))
        if len(events) == limit:
            break
    if source is None or not data:
        return None
    source = _grown(source, grown)
    end = Place(begin.segment, offset, source, recorded + grown["captured"])
    return Parcel(source, events, end, has_more=len(events) == limit)


def _with_counters_of(source: Source | None, head: Head, removed: int) -> Source:
    """What a segment's head says, and what a reader of the segments before it has found damaged or gone."""
    if source is None:
        return head.source
    found = dict(source.dropped)
    if removed > 0:
        found["outbox_removed"] = found.get("outbox_removed", 0) + removed
    return msgspec.structs.replace(head.source, dropped=found | head.source.dropped)


def _grown(source: Source, grown: Counter[str]) -> Source:
    """A source with what its lines since the last head add to its counters."""
    dropped = dict(source.dropped)
    if grown["damaged"]:
        dropped["damaged"] = dropped.get("damaged", 0) + grown["damaged"]
    return msgspec.structs.replace(
        source,
        captured=source.captured + grown["captured"],
        dropped=dropped,
        excluded=source.excluded + grown["excluded"],
        sampled_out=source.sampled_out + grown["sampled_out"],
    )
