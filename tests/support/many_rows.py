"""Many rows of ``metrics`` in a moment; the rollups do not know them."""

from __future__ import annotations

import sqlalchemy as sa

from aurea_celery.storage.schema import metrics
from tests.support.databases import connected
from tests.support.recorded import execution, write

MADE = {
    "id": "n",
    "event_id": "gen_random_uuid()",
    "created_at": "'2026-01-01Z'::timestamptz + n * interval '1 second'",
}


def make_rows(url: str, count: int) -> None:
    """Copies of one row with ids and times of their own."""
    write(url, execution())
    names = [column.name for column in metrics.c]
    values = ", ".join(MADE.get(name, name) for name in names)
    with connected(url) as connection:
        connection.execute(sa.text("CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM metrics"))
        connection.execute(sa.text("DELETE FROM metrics"))
        connection.execute(
            sa.text(
                f"INSERT INTO metrics ({', '.join(names)}) SELECT {values} FROM one, generate_series(1, {count}) AS n"
            )
        )
