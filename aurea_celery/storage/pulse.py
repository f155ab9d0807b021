"""The pulse: does somebody write, and how old is what is not written, as far as the database knows.

Events tell of themselves when they are written, and not before. What the database knows of the rest, and what not, is
in ``docs/decisions/0014-what-health-can-know.md``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from msgspec import Struct

WRITING_SECONDS = 60.0
"""After that long without a write, nobody is writing now."""

BEHIND_SECONDS = 300.0
"""With something known for that long and not written, somebody should look."""

WriterState = Literal["writing", "idle", "silent"]


class Pulse(Struct, frozen=True, kw_only=True):
    """What the database knows of the way to it.

    ``backlog`` are events that are captured and have not arrived, as far as their processes could say;
    ``oldest_event_seconds`` is how old the oldest event is that is not written, or was not until the last minute: how
    long the books have been open, or the age of what is being written now, if that is more. None if neither is.
    ``last_write`` is when a writer has last written a batch, ``seconds_since_write`` how long ago; None if never.
    ``is_unused``: whether nothing was ever written, by a writer or through the API.
    """

    backlog: int
    oldest_event_seconds: float | None
    last_write: datetime | None
    seconds_since_write: float | None
    is_unused: bool

    def writer(self, messages: int | None = None) -> WriterState:
        """Whether somebody writes; ``messages`` are those that wait in the queue, None where that is not known.

        ``silent`` is said where something waits for a writer, or where nobody has ever written, and nobody knows why.
        """
        if self.seconds_since_write is not None and self.seconds_since_write < WRITING_SECONDS:
            return "writing"
        if messages is not None:
            return "silent" if messages else "idle"
        return "silent" if self.backlog or self.is_unused else "idle"

    def problem(self, messages: int | None, queue: str) -> str | None:
        """What somebody should see to, in one sentence; None if there is nothing."""
        if self.writer(messages) == "silent":
            return self.why_silent(messages, queue)
        if (self.oldest_event_seconds or 0.0) <= BEHIND_SECONDS:
            return None
        late = f"The oldest event that is not written is {duration(self.oldest_event_seconds or 0.0)} old"
        if self.backlog:
            return f"{late}, {executions(self.backlog, 'is missing', 'are missing')}; aurea check says where"
        return f"{late}: the writers are behind; start more of them"

    def why_silent(self, messages: int | None, queue: str) -> str:
        """One sentence about a writer that is ``silent``, and what to do."""
        since = self.seconds_since_write
        reasons = [
            "no writer has ever written to this database"
            if since is None
            else f"the last write is {duration(since)} old"
        ]
        if messages:
            reasons.append(counted(messages, "message waits", "messages wait") + f" in {queue}")
        elif self.backlog:
            reasons.append(executions(self.backlog, "is missing", "are missing"))
        return f"Nobody is writing: {' and '.join(reasons)}; start one: celery -A yourapp aurea writer"


# Of what is being written now the youngest counts: what a dead process has left may be of any age, and says nothing of
# the queue.
_PULSE = sa.text("""
    SELECT coalesce(sum(captured::numeric - written - rejected - lost) FILTER (WHERE open_since IS NOT NULL), 0)
               AS backlog,
           extract(epoch FROM clock_timestamp() - min(open_since))::float AS open_seconds,
           extract(epoch FROM min(last_seen_at - last_event_at)
               FILTER (WHERE is_queue AND last_seen_at > clock_timestamp() - make_interval(secs => :recent)))::float
               AS age_seconds,
           max(last_seen_at) FILTER (WHERE is_queue) AS last_write,
           extract(epoch FROM clock_timestamp() - max(last_seen_at) FILTER (WHERE is_queue))::float
               AS seconds_since_write,
           count(*) = 0 AS is_unused
      FROM (SELECT *, through = 'queue' AS is_queue FROM metrics_sources) AS source
""")


def read_pulse(connection: sa.Connection) -> Pulse:
    """The pulse now."""
    row = connection.execute(_PULSE, {"recent": WRITING_SECONDS}).one()
    ages = [max(age, 0.0) for age in (row.open_seconds, row.age_seconds) if age is not None]
    return Pulse(
        backlog=int(row.backlog),
        oldest_event_seconds=max(ages, default=None),
        last_write=row.last_write,
        seconds_since_write=None if row.seconds_since_write is None else max(row.seconds_since_write, 0.0),
        is_unused=row.is_unused,
    )


def duration(seconds: float) -> str:
    """A length of time in words.

    >>> duration(1), duration(90), duration(840), duration(200_000)
    ('1 second', '90 seconds', '14 minutes', '2 days')
    """
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return counted(int(seconds), "second", "seconds")


def counted(count: int, one: str, many: str) -> str:
    """A number of things in words.

    >>> counted(1, "message waits", "messages wait"), counted(1203, "message waits", "messages wait")
    ('1 message waits', '1,203 messages wait')
    """
    return f"{count:,} {one if count == 1 else many}"


def executions(count: int, one: str, many: str) -> str:
    """What a number of executions do.

    >>> executions(2, "is missing", "are missing")
    '2 executions are missing'
    """
    return counted(count, f"execution {one}", f"executions {many}")
