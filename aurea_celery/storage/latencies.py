"""Percentiles of latency from the histograms of the rollups, within 5 % of the true ones."""

from __future__ import annotations

import math
from collections import Counter

from aurea_celery.storage.rollups import BUCKET_BASE, SMALLEST_BUCKET

Histogram = Counter[int]
"""How many executions are in each bucket; histograms can be added."""


def percentile(histogram: Histogram, percent: int) -> float | None:
    """The latency in milliseconds that so many percent of the executions do not exceed; None if there are none.

    >>> round(percentile(Histogram({10: 95, 30: 5}), 95)), percentile(Histogram(), 50)
    (2, None)
    """
    rank = math.ceil(histogram.total() * percent / 100)
    below = 0
    for bucket in sorted(histogram):
        below += histogram[bucket]
        if below >= rank:
            return bucket_ms(bucket)
    return None


def bucket_ms(bucket: int) -> float:
    """What is at most 5 % from all latencies in a bucket, in four digits; the smallest holds those without any."""
    return 0.0 if bucket == SMALLEST_BUCKET else float(f"{BUCKET_BASE**bucket * 2 / (1 + BUCKET_BASE):.4g}")
