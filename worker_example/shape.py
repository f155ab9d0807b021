"""The published shape of language model calls: how many tokens go in and come out, and how long that takes.

Token counts
    Azure Public Dataset, "Azure LLM inference trace 2023" (CC-BY), conversation service, 19,366 requests; described in
    Patel et al., "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024. The two tables are
    the trace's quantiles, ``sorted(column)[ceil(p * (n - 1))]``; between two of them counts are interpolated
    geometrically. No single lognormal is used, because both columns have several modes: the best fit is off by a
    quarter at the median. Input and output are drawn independently (the correlation of their logarithms is 0.09).

Latency
    The measurements that the authors of that paper published with their simulator (github.com/Mutinifni/splitwise-sim,
    ``data/perf_model.csv``, MIT): Llama-2-70B on two H100, batch size 1. Time to first token is the line with
    the least greatest relative error through the medians at seven prompt sizes, from 128 tokens (48 ms) to 8,192
    tokens (1,340 ms): within 15 percent of each of them. Every further output token takes 37.4 ms.
"""

from __future__ import annotations

import bisect
import math
import random

PROBABILITIES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
INPUT_TOKENS = (2, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2735, 4083, 4142, 14050)
OUTPUT_TOKENS = (7, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 1000)

FIRST_TOKEN_MS = 24.0
FIRST_TOKEN_MS_PER_INPUT_TOKEN = 0.138
OUTPUT_TOKEN_MS = 37.4


def draw_tokens(quantiles: tuple[int, ...], source: random.Random) -> int:
    """A token count from a table of quantiles at :data:`PROBABILITIES`."""
    p = source.random()
    upper = bisect.bisect_right(PROBABILITIES, p)
    low_p, high_p = PROBABILITIES[upper - 1], PROBABILITIES[upper]
    low, high = quantiles[upper - 1], quantiles[upper]
    return round(low * math.pow(high / low, (p - low_p) / (high_p - low_p)))


def latency_ms(input_tokens: int, output_tokens: int) -> float:
    """How long a call takes: until the first token, then for each further one.

    >>> round(latency_ms(1020, 129))
    4952
    """
    first_ms = FIRST_TOKEN_MS + FIRST_TOKEN_MS_PER_INPUT_TOKEN * input_tokens
    return first_ms + OUTPUT_TOKEN_MS * max(0, output_tokens - 1)
