"""Percentiles of latency from the histograms of the rollups, within 5 % of the true ones."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from aurea_celery.storage.rollups import BUCKET_BASE, SMALLEST_BUCKET

Histogram = Counter[int]
"""How many executions are in each bucket; histograms can be added."""


class Percentiles(NamedTuple):
    """The latencies in milliseconds that so many percent of some executions do not exceed; None without any."""

    p50_latency_ms: float | None = None
    p95_latency_ms: float | None = None
    p99_latency_ms: float | None = None

    @classmethod
    def of(cls, row: Any) -> Percentiles:
        """Those of a row of :func:`first_buckets`."""
        buckets = (row.p50, row.p95, row.p99)
        return cls(*(None if bucket is None else bucket_ms(bucket) for bucket in buckets))


def first_buckets(histograms: str, key: str) -> str:
    """The query for the first bucket that holds each percentile, ``p50``, ``p95`` and ``p99``, for each key.

    ``histograms`` is a query for the columns of the key, ``bucket`` and ``executions``.
    """
    added = (
        f"SELECT {key}, bucket, sum(executions) OVER (PARTITION BY {key} ORDER BY bucket) AS until_here,"  # noqa: S608 - our own names
        f" sum(executions) OVER (PARTITION BY {key}) AS in_all FROM ({histograms}) AS histograms"
    )
    firsts = ", ".join(
        f"min(bucket) FILTER (WHERE until_here * 100 >= in_all * {percent}) AS p{percent}" for percent in (50, 95, 99)
    )
    return f"SELECT {key}, {firsts} FROM ({added}) AS added GROUP BY {key}"  # noqa: S608 - our own names


def bucket_ms(bucket: int) -> float:
    """What is at most 5 % from all latencies in a bucket, in four digits; the smallest holds those without any."""
    return 0.0 if bucket == SMALLEST_BUCKET else float(f"{BUCKET_BASE**bucket * 2 / (1 + BUCKET_BASE):.4g}")
