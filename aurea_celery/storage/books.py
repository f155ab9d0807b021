"""Reading the books: what the processes have captured, and what became of it, in all and for each process."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from msgspec import Struct


class Books(Struct, frozen=True, kw_only=True):
    """Events over all processes: ``captured == written + rejected + pending + dropped``.

    ``published`` are those that a message has told of: captured, and not dropped before they could be sent.
    ``duplicates`` came again and were not written again; they are not part of the sum. Nor are ``excluded`` and
    ``sampled_out``: executions that the settings leave out.
    """

    captured: int
    published: int
    written: int
    rejected: int
    pending: int
    dropped: int
    duplicates: int
    excluded: int
    sampled_out: int
    dropped_by_reason: dict[str, int]

    def __str__(self) -> str:
        """In one line; what was dropped is lost."""
        return (
            f"captured {self.captured}  written {self.written}  rejected {self.rejected}  pending {self.pending}"
            f"  lost {self.dropped}"
        )


class ProcessBooks(Struct, frozen=True, kw_only=True):
    """The same for one process; ``seconds_unseen`` is how long ago its last batch was written, None if none was."""

    source_id: str
    host: str
    pid: int
    captured: int
    published: int
    written: int
    rejected: int
    duplicates: int
    dropped_by_reason: dict[str, int]
    seconds_unseen: float | None

    @property
    def dropped(self) -> int:
        """Events given up, for whatever reason."""
        return sum(self.dropped_by_reason.values())

    @property
    def pending(self) -> int:
        """Events of which nobody has said yet what became of them."""
        return self.captured - self.written - self.rejected - self.dropped


# An event that was written, rejected or dropped has been captured, even where its process died before it could say so.
_BOOKS = sa.text("""
    SELECT sum(greatest(captured, settled)) AS captured, sum(greatest(captured, settled) - lost) AS published,
           sum(written) AS written, sum(rejected) AS rejected, sum(greatest(captured - settled, 0)) AS pending,
           sum(lost) AS dropped, sum(duplicates) AS duplicates, sum(excluded) AS excluded,
           sum(sampled_out) AS sampled_out,
           (SELECT jsonb_object_agg(reason, events ORDER BY reason)
              FROM (SELECT key AS reason, sum(value::numeric) AS events
                      FROM metrics_sources, jsonb_each_text(dropped) GROUP BY key) AS reasons) AS by_reason
      FROM (SELECT *, written::numeric + rejected + lost AS settled FROM metrics_sources) AS source
""")

_PROCESSES = sa.text("""
    SELECT source_id::text AS source_id, host, pid, captured, written, rejected, duplicates, dropped, lost,
           extract(epoch FROM clock_timestamp() - last_seen_at)::float AS seconds_unseen
      FROM metrics_sources
     WHERE :every_process OR open_since IS NOT NULL OR lost > 0 OR source_id = ANY(CAST(:source_ids AS uuid[]))
     ORDER BY host, pid, first_seen_at
""")


def read_books(connection: sa.Connection) -> Books:
    """The books over all processes, of one moment."""
    found = connection.execute(_BOOKS).one()._asdict()
    reasons = found.pop("by_reason") or {}
    return Books(dropped_by_reason=reasons, **{name: int(events or 0) for name, events in found.items()})


def read_process_books(
    connection: sa.Connection, source_ids: Collection[str] = (), *, every_process: bool = False
) -> list[ProcessBooks]:
    """The books of the named processes, and of those of which something is missing; or those of every process."""
    wanted = {"source_ids": list(source_ids), "every_process": every_process}
    return [_process_books(row) for row in connection.execute(_PROCESSES, wanted).mappings()]


def _process_books(row: sa.RowMapping) -> ProcessBooks:
    captured = max(row["captured"], row["written"] + row["rejected"] + row["lost"])
    return ProcessBooks(
        captured=captured,
        published=captured - row["lost"],
        dropped_by_reason=row["dropped"],
        **{
            name: row[name]
            for name in ("source_id", "host", "pid", "written", "rejected", "duplicates", "seconds_unseen")
        },
    )
