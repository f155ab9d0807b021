"""Microseconds that a call's cost takes: the arithmetic alone, and with finding the price, as the writer does it."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from aurea_celery.events import ModelCall, Usage
from aurea_celery.pricing import PriceBook
from bench.ratio import Spread

CALLS = 5_000
AT = datetime(2026, 11, 24, 10, 7, 3, tzinfo=UTC)
PLAIN = Usage(input_tokens=9_000, output_tokens=300)
DETAILED = Usage(
    input_tokens=9_000,
    output_tokens=300,
    cache_read_input_tokens=5_000,
    cache_write_input_tokens=2_000,
    cache_write_1h_input_tokens=500,
    reasoning_output_tokens=120,
)


def microseconds(work: Callable[[], object], rounds: int) -> Spread:
    """The processor's time that one call of something takes."""
    seconds = timeit.repeat(work, number=CALLS, repeat=rounds, timer=time.process_time)
    return Spread.of([one / CALLS * 1e6 for one in seconds])


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown each."""
    return "\n".join(
        f"- {name}: {_described(ModelCall(usage=usage, model='claude-sonnet-4-5', provider='anthropic'), rounds)}"
        for name, usage in (("plain", PLAIN), ("with a cache of both ages and reasoning", DETAILED))
    )


def _described(call: ModelCall, rounds: int) -> str:
    book = PriceBook()
    price = book.find(call, AT).price
    assert price is not None
    arithmetic = microseconds(lambda: price.rates.cost(call.usage), rounds)
    whole = microseconds(lambda: book.cost(call, AT), rounds)
    return f"the arithmetic {arithmetic.text('.2f')} us, with finding the price {whole.text('.2f')} us"


if __name__ == "__main__":
    print(main())
