"""Percentiles from histograms: at most 5 % from the exact ones."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.storage.latencies import Percentiles, first_buckets
from aurea_celery.storage.rollups import BUCKET
from tests.support.databases import connected

latencies_us = st.integers(1, 30 * 86_400 * 1_000_000)
near_limits = st.builds(
    lambda power, more: max(1, round(1.1**power * 1_000) + more), st.integers(-72, 220), st.integers(-2, 2)
)
some_us = st.lists(st.one_of(latencies_us, near_limits, st.just(0)), min_size=1, max_size=60)
HISTOGRAMS = (
    f"SELECT name, {BUCKET} AS bucket, 1 AS executions FROM (SELECT name, us * 0.001 AS latency_ms"
    " FROM unnest(CAST(:names AS text[]), CAST(:us AS bigint[])) AS given (name, us)) AS rows"
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from("abc"), some_us, min_size=1))
def test_they_are_within_five_percent_of_the_exact_ones(database_url: str, of_name: dict[str, list[int]]) -> None:
    given_ = [(name, us) for name, each_us in of_name.items() for us in each_us]
    values = {"names": [name for name, _ in given_], "us": [us for _, us in given_]}
    with connected(database_url) as connection:
        rows = connection.execute(sa.text(first_buckets(HISTOGRAMS, "name")), values).all()

    found = {row.name: Percentiles.of(row) for row in rows}
    assert found.keys() == of_name.keys()
    for name, each_us in of_name.items():
        for percent, percentile_ms in zip((50, 95, 99), found[name], strict=True):
            exact_us = sorted(each_us)[math.ceil(len(each_us) * percent / 100) - 1]
            assert percentile_ms == pytest.approx(exact_us / 1_000, rel=0.05, abs=0.0)


def test_without_executions_there_are_none(database_url: str) -> None:
    with connected(database_url) as connection:
        rows = connection.execute(sa.text(first_buckets(HISTOGRAMS, "name")), {"names": [], "us": []}).all()

    assert rows == []
    assert Percentiles() == (None, None, None)
