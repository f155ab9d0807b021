"""Which events of an outbox are not written yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from aurea_celery.clock import from_us

EventKey = tuple[str, int]
"""What tells one event from every other: its id, and when it ended, in microseconds since the epoch."""


class Unwritten(NamedTuple):
    """How many events are not in ``metrics``, and when the oldest of them ended; None if there is none."""

    events: int = 0
    oldest_at: datetime | None = None


_UNWRITTEN = sa.text("""
    SELECT count(*), min(held.created_at)
      FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ends AS timestamptz[])) AS held (event_id, created_at)
     WHERE NOT EXISTS (
        SELECT FROM metrics WHERE metrics.created_at = held.created_at AND metrics.event_id = held.event_id)
""")


def find_unwritten(connection: sa.Connection, batches: Iterable[Collection[EventKey]]) -> Unwritten:
    """Return what is not written of some events, which are read one batch after another."""
    events, oldest = 0, []
    for batch in batches:
        ids, ends = [event_id for event_id, _ in batch], [from_us(ended_at_us) for _, ended_at_us in batch]
        found = Unwritten(*connection.execute(_UNWRITTEN, {"event_ids": ids, "ends": ends}).one())
        events += found.events
        oldest += [found.oldest_at] if found.oldest_at else []
    return Unwritten(events, min(oldest, default=None))
