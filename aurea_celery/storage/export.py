"""Rows of ``metrics`` from the first to the last, a piece at a time, however many there are.

One cursor on the server reads them, so that all are of one moment, and no more than a piece is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from aurea_celery.storage.schema import metrics
from aurea_celery.storage.selection import Selection

PIECE_ROWS = 1000
MOST_IDLE_SECONDS = 600
"""For so long a reader may take no more; then the server ends the session, which keeps it from cleaning up."""

COLUMNS = tuple(metrics.c)
NAMES = tuple(column.name for column in COLUMNS)

Row = Sequence[Any]
"""The values of a row in the order of :data:`NAMES`; decimals are without trailing zeros."""

Pieces = Iterator[Sequence[Row]]


def read_pieces(connection: sa.Connection, selection: Selection) -> Pieces:
    """The rows of a selection in the order of their key (created_at, event_id, seq); takes as long as it takes.

    The connection is in no transaction but this one, and is used for nothing else meanwhile.
    """
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.text(f"SET LOCAL idle_in_transaction_session_timeout = '{MOST_IDLE_SECONDS}s'"))
    found = connection.execute(_statement(selection), execution_options={"yield_per": PIECE_ROWS})
    yield from found.partitions()


def _statement(selection: Selection) -> sa.Select[Any]:
    values = [
        sa.func.trim_scale(column).label(column.name) if isinstance(column.type, sa.Numeric) else column
        for column in COLUMNS
    ]
    statement = sa.select(*values).order_by(metrics.c.created_at, metrics.c.event_id, metrics.c.seq)
    if selection.since is not None:
        statement = statement.where(metrics.c.created_at >= selection.since)
    if selection.until is not None:
        statement = statement.where(metrics.c.created_at < selection.until)
    for column, names in (
        (metrics.c.job_id, selection.jobs),
        (metrics.c.task_name, selection.tasks),
        (metrics.c.model_used, selection.models),
        (sa.func.coalesce(metrics.c.provider_name, ""), selection.providers),
        (metrics.c.status, selection.statuses),
    ):
        if names:
            statement = statement.where(column.in_(names))
    return statement.where(*(metrics.c.tags.contains({name: value}) for name, value in selection.tags))
