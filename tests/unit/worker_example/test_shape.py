"""The simulated model has the shape that was published."""

from __future__ import annotations

import random
import statistics

import pytest

from worker_example.shape import INPUT_TOKENS, OUTPUT_TOKENS, PROBABILITIES, draw_tokens, latency_ms

# Of the trace's 19,366 requests: mean = published total / requests, and the median.
PUBLISHED: dict[tuple[int, ...], tuple[float, int]] = {
    INPUT_TOKENS: (22_361_870 / 19_366, 1020),
    OUTPUT_TOKENS: (4_088_665 / 19_366, 129),
}

# Medians of the published measurements: prompt tokens -> milliseconds to the first token.
MEASURED_FIRST_TOKEN_MS = {128: 48.3, 256: 51.9, 512: 83.8, 1024: 158.0, 2048: 310.3, 4096: 642.7, 8192: 1339.8}


@pytest.mark.parametrize("quantiles", PUBLISHED)
def test_mean_and_median_are_the_published_ones(quantiles: tuple[int, ...]) -> None:
    mean, median = PUBLISHED[quantiles]
    source = random.Random(7)
    drawn = [draw_tokens(quantiles, source) for _ in range(40_000)]
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.03)
    assert statistics.median(drawn) == pytest.approx(median, rel=0.03)
    assert min(drawn) >= quantiles[0]
    assert max(drawn) <= quantiles[-1]


@pytest.mark.parametrize("quantiles", PUBLISHED)
def test_every_quantile_is_met(quantiles: tuple[int, ...]) -> None:
    assert len(quantiles) == len(PROBABILITIES)
    source = random.Random(8)
    drawn = [draw_tokens(quantiles, source) for _ in range(40_000)]
    for probability, quantile in zip(PROBABILITIES, quantiles, strict=True):
        share = sum(count <= quantile for count in drawn) / len(drawn)
        assert share == pytest.approx(probability, abs=0.02)


@pytest.mark.parametrize(("input_tokens", "measured_ms"), MEASURED_FIRST_TOKEN_MS.items())
def test_the_first_token_takes_as_long_as_was_measured(input_tokens: int, measured_ms: float) -> None:
    assert latency_ms(input_tokens, 1) == pytest.approx(measured_ms, rel=0.15)


def test_each_further_token_takes_as_long_as_was_measured() -> None:
    assert latency_ms(1000, 101) - latency_ms(1000, 1) == pytest.approx(100 * 37.4)
    assert latency_ms(1000, 0) == latency_ms(1000, 1)
