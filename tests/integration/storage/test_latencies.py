"""Percentiles from histograms: at most 5 % from the exact ones."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.storage.latencies import Histogram, percentile
from aurea_celery.storage.rollups import BUCKET
from tests.support.databases import connected

latencies_us = st.integers(1, 30 * 86_400 * 1_000_000)
near_limits = st.builds(
    lambda power, more: max(1, round(1.1**power * 1_000) + more), st.integers(-72, 220), st.integers(-2, 2)
)
IN_BUCKETS = sa.text(
    f"SELECT CAST({BUCKET} AS int) FROM (SELECT unnest(CAST(:us AS bigint[])) * 0.001 AS latency_ms) AS rows"
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(latencies_us, near_limits, st.just(0)), min_size=1, max_size=60))
def test_they_are_within_five_percent_of_the_exact_ones(database_url: str, each_us: list[int]) -> None:
    with connected(database_url) as connection:
        histogram = Histogram(connection.scalars(IN_BUCKETS, {"us": each_us}))

    for percent in (50, 95, 99):
        exact_us = sorted(each_us)[math.ceil(len(each_us) * percent / 100) - 1]
        assert percentile(histogram, percent) == pytest.approx(exact_us / 1_000, rel=0.05, abs=0.0)


@given(st.lists(st.integers(-100, 300), min_size=1), st.lists(st.integers(-100, 300), min_size=1))
def test_histograms_add_up(some: list[int], others: list[int]) -> None:
    together = Histogram(some) + Histogram(others)

    for percent in (50, 95, 99):
        assert percentile(together, percent) == percentile(Histogram(some + others), percent)
