"""Rows are found by their tags without reading all of them."""

from __future__ import annotations

import sqlalchemy as sa

from tests.support.databases import connected
from tests.support.events import make_event
from tests.support.recorded import write

SEARCH = """SELECT sum(token_count) FROM metrics WHERE tags @> '{"team": "search"}'"""


def test_a_search_by_tag_reads_the_index_of_a_partition_that_has_grown(each_database_url: str) -> None:
    write(each_database_url, make_event(tags={"team": "search"}))
    with connected(each_database_url) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO metrics SELECT made.* FROM metrics AS one, generate_series(2, 20000) AS n,"
                " jsonb_populate_record(one::metrics, jsonb_build_object('event_id', gen_random_uuid(), 'id', n,"
                " 'tags', jsonb_build_object('team', 'team ' || n % 200))) AS made"
            )
        )
        connection.execute(sa.text("ANALYZE metrics"))
        plan = connection.scalars(sa.text(f"EXPLAIN {SEARCH}".replace('":', r'"\:'))).all()

    assert any("metrics_default_tags_idx" in line for line in plan)
    assert not [line for line in plan if "Seq Scan on metrics_default" in line]
