"""No panel reads all rows: long ranges come from the sums, and what only rows know has an index or a day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from deploy.grafana.expand import Chosen, Range, expand
from tests.support.grafana import QUERIES, Query, panel_sql
from tests.support.grafana_databases import NOW, reading

LONG = Range(NOW - timedelta(days=90), NOW, "12h")
PARTITION = re.compile(r"\bon (metrics_p\w+|metrics_default)\b")
READS_ALL = re.compile(r"Seq Scan on (metrics_p\w+|metrics_default)\b")
INDEX_OF_A_WEEK = re.compile(r"Index (?:Only )?Scan (?:using|on) (metrics_p\d\w+)")
READS_ROWS = {"Total Cost by Job A", "Queue Wait A", "Top Exceptions A", "Task Execution Timeline A"}
"""What cannot be answered from sums, whatever is chosen."""

CHOSEN: list[Chosen] = [
    {},
    {"job": ["job-590"]},
    {"job": ["job-590", "job-591"], "status": ["failure"]},
    {"task": ["x"]},
]


@pytest.fixture(scope="module")
def cursor(full_url: str) -> Iterator[Any]:
    with reading(full_url) as opened:
        opened.execute("SET enable_seqscan = off")
        yield opened


def plan(cursor: Any, sql: str, chosen: Chosen) -> list[str]:
    """How PostgreSQL answers where sequential scans are discouraged; one that is left has no other way."""
    cursor.execute(f"EXPLAIN {expand(sql, LONG, chosen)}")
    return [line for (line,) in cursor.fetchall()]


def partitions(lines: list[str]) -> set[str]:
    return {found[1] for line in lines if (found := PARTITION.search(line))}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_a_query_has_an_index_for_every_row_it_reads(cursor: Any, query: Query) -> None:
    for chosen in CHOSEN:
        lines = plan(cursor, query.sql, chosen)
        assert not [line for line in lines if READS_ALL.search(line)], "\n".join(lines)
        if "job" not in chosen and query.title not in READS_ROWS:
            assert not partitions(lines), "\n".join(lines)


@pytest.mark.parametrize("title", ["Queue Wait", "Top Exceptions"])
def test_what_no_sums_know_is_read_of_a_day_only(cursor: Any, title: str) -> None:
    assert 1 <= len(partitions(plan(cursor, panel_sql(title), {}))) <= 3


def test_some_jobs_are_read_by_the_index_on_jobs(cursor: Any) -> None:
    lines = plan(cursor, panel_sql("Total Metrics"), {"job": ["job-590"]})
    used = [found[1] for line in lines if (found := INDEX_OF_A_WEEK.search(line))]
    assert len(used) > 10
    others = [index for index in used if not index.endswith("job_id_created_at_id_idx")]
    assert len(others) <= 1  # of the week that the range begins in there are few rows, however they are found


def test_a_scan_of_everything_would_be_seen(cursor: Any) -> None:
    lines = plan(cursor, "SELECT sum(cost_estimate) FROM metrics WHERE queue = 'celery'", {})
    assert [line for line in lines if READS_ALL.search(line)]
