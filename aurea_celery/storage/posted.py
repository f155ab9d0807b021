"""Ids that clients of the API give to what they post, so that the same again is not written again.

An id is taken in the transaction that writes its event: whoever posts it at the same time waits, and then finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from aurea_celery.clock import from_us
from aurea_celery.errors import EventConflict
from aurea_celery.events import TaskEvent
from aurea_celery.storage.database_clock import CLOCKS_AGREE, host_now

Digests = Mapping[str, bytes]
"""By the id of an event, the SHA-256 of what was posted."""

KEPT_DAYS = 30
FORGOTTEN_AT_ONCE = 2000  # more than can be posted at once, so that the table shrinks again after a busy time

# In one order everywhere: two requests with the same ids do not wait in a circle.
_TAKE = sa.text(
    "INSERT INTO metrics_posted (event_id, created_at, digest)"
    " SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[]), CAST(:digests AS bytea[])) ORDER BY 1"
    " ON CONFLICT DO NOTHING RETURNING CAST(event_id AS text)"
)
_FIND = sa.text(
    "SELECT CAST(event_id AS text) AS event_id, created_at, digest FROM metrics_posted"
    " WHERE event_id = ANY(CAST(:ids AS uuid[]))"
)
_FORGET = sa.text(
    "DELETE FROM metrics_posted WHERE event_id IN (SELECT event_id FROM metrics_posted"  # noqa: S608 - our own numbers
    f" WHERE posted_at < now() - interval '{KEPT_DAYS} days' AND {CLOCKS_AGREE}"
    f" LIMIT {FORGOTTEN_AT_ONCE} FOR UPDATE SKIP LOCKED)"
)


def take(connection: sa.Connection, events: Sequence[TaskEvent], digests: Digests) -> dict[str, datetime]:
    """Take the ids of those events that have a digest; what is older than 30 days is forgotten.

    Returns:
        The ids that were taken before by the same, with the time of the event that has them.

    Raises:
        EventConflict: If one was taken before by something else.
    """
    taking = [event for event in events if event.event_id in digests]
    if not taking:
        return {}
    connection.execute(_FORGET, {"host_now": host_now()})
    ids = [event.event_id for event in taking]
    times = [from_us(event.ended_at_us) for event in taking]
    new = connection.scalars(_TAKE, {"ids": ids, "times": times, "digests": [digests[one] for one in ids]})
    missing = set(ids).difference(new)
    known = connection.execute(_FIND, {"ids": list(missing)}).all() if missing else []
    for row in known:
        if bytes(row.digest) != digests[row.event_id]:
            raise EventConflict(row.event_id)
    return {row.event_id: row.created_at for row in known}
