"""Writing the books: what each process says it has captured, and what became of it (``docs/decisions/0009-books.md``).

Whatever a process says only grows, so that the order in which its messages arrive does not matter.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.postgresql import Insert, insert

from aurea_celery.events import TEXT_MAX_CHARACTERS, Source
from aurea_celery.storage.schema import metrics_sources

Way = Literal["queue", "api"]
"""How events come: as messages through the queue, or in a request to the API."""


MAX_CLAIM = 10**12
"""More than a process can have counted: with ten thousand executions a second it would take three years."""

MAX_REASONS = 100
"""Reasons to give up an event, of which there are a handful."""


class Entry(Struct, frozen=True, kw_only=True):
    """What became of one source's part of a batch; ``last_event_at`` is the end of its newest event, if one is new."""

    source: Source
    written: int
    rejected: int
    duplicates: int
    through: Way
    last_event_at: datetime | None


def is_believable(source: Source) -> bool:
    """Return whether a process can have counted what it says."""
    counts = (source.captured, sum(source.dropped.values()), source.excluded, source.sampled_out)
    return max(counts) <= MAX_CLAIM and len(source.dropped) <= MAX_REASONS and all(map(_is_name, source.dropped))


def without_claims(source: Source) -> Source:
    """Return a process that says nothing of what it has counted."""
    return Source(source_id=source.source_id, host=source.host, pid=source.pid)


def _is_name(reason: str) -> bool:
    return len(reason) <= TEXT_MAX_CHARACTERS and "\0" not in reason


_books, _new = metrics_sources.c, insert(metrics_sources).excluded
_now = sa.func.clock_timestamp()  # the database's clock: those who read the books compare with it

# What was dropped for a reason only grows, and each report may know of other reasons.
_DROPPED = """(SELECT coalesce(jsonb_object_agg(reason, events), '{}') FROM (
    SELECT key AS reason, max(value::bigint) AS events
      FROM (SELECT * FROM jsonb_each_text(metrics_sources.dropped)
            UNION ALL SELECT * FROM jsonb_each_text(excluded.dropped)) AS reports
     GROUP BY key) AS most)"""
_LOST = f"(SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text({_DROPPED}))"  # noqa: S608 - our own names


def _adding(lost: sa.ColumnElement[int], **more: sa.ColumnElement[object]) -> Insert:
    written, rejected = _books.written + _new.written, _books.rejected + _new.rejected
    # What comes in a request is captured by being written; otherwise its client knows better.
    captured = sa.case(
        (_new.through == "api", written + rejected), else_=sa.func.greatest(_books.captured, _new.captured)
    )
    begun = insert(metrics_sources).values(
        first_seen_at=_now, last_seen_at=_now, open_since=sa.case((sa.bindparam("is_open"), _now))
    )
    return begun.on_conflict_do_update(
        index_elements=["source_id"],
        set_={
            "captured": captured,
            "written": written,
            "rejected": rejected,
            "duplicates": _books.duplicates + _new.duplicates,
            "lost": lost,
            "excluded": sa.func.greatest(_books.excluded, _new.excluded),
            "sampled_out": sa.func.greatest(_books.sampled_out, _new.sampled_out),
            "last_seen_at": _now,
            "last_event_at": _new.last_event_at,
            "open_since": sa.case((captured > written + rejected + lost, sa.func.coalesce(_books.open_since, _now))),
            **more,
        },
    )


# Hardly any process ever drops anything, and planning what adds it up takes longer than all the rest.
_ADD = _adding(_books.lost)
_ADD_WITH_DROPPED = _adding(sa.literal_column(_LOST), dropped=sa.literal_column(_DROPPED))


def keep_books(connection: sa.Connection, entries: list[Entry]) -> None:
    """Add to the books of every source what became of its events."""
    for statement, part in (
        (_ADD, [entry for entry in entries if not entry.source.dropped]),
        (_ADD_WITH_DROPPED, [entry for entry in entries if entry.source.dropped]),
    ):
        if part:
            connection.execute(statement, [_values(entry) for entry in part])


def _values(entry: Entry) -> dict[str, object]:
    source = entry.source
    lost = sum(source.dropped.values())
    captured = entry.written + entry.rejected if entry.through == "api" else source.captured
    return {
        "source_id": source.source_id,
        "host": source.host,
        "pid": source.pid,
        "captured": captured,
        "written": entry.written,
        "rejected": entry.rejected,
        "duplicates": entry.duplicates,
        "dropped": source.dropped,
        "lost": lost,
        "excluded": source.excluded,
        "sampled_out": source.sampled_out,
        "through": entry.through,
        "last_event_at": entry.last_event_at,
        "is_open": captured > entry.written + entry.rejected + lost,
    }
