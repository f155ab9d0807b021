"""Rows per second of repricing, beside two writers that write as fast as they can, and alone."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.synchronize import Event
from typing import Any

from aurea_celery.commands.price_rows import price_row
from aurea_celery.embedded import EmbeddedStack
from aurea_celery.models import upgrade_database
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import queries
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.prices import set_prices
from aurea_celery.storage.reprice import Selection, reprice
from aurea_celery.storage.write import Writer
from bench.ratio import Spread, interleaved
from bench.writer import BATCH_EVENTS, MODELS, make_batch

ROWS = 100_000
WRITERS = 2


class Repricings:
    """Prices all rows of a database that were there at first again and again, each time at a new price."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.written: list[float] = []
        self._engine = create_engine(url)
        self._usd = Decimal(1)
        self._write_rows()
        self._until = datetime.now(UTC)

    def alone(self) -> float:
        """Rows per second."""
        self._usd += 1
        with self._engine.begin() as connection:
            set_prices(connection, [price_row({"model": model, "total": self._usd}) for model in MODELS])
        begun = time.perf_counter()
        found = reprice(self.url, pricing_of, Selection(until=self._until))
        assert found.changed == ROWS
        return ROWS / (time.perf_counter() - begun)

    def beside_writers(self) -> float:
        """Rows per second, while others are written."""
        with writing(self.url) as written:
            begun, before = time.perf_counter(), written.value
            figure = self.alone()
            self.written.append((written.value - before) / (time.perf_counter() - begun))
        return figure

    def check(self) -> None:
        """That every rollup equals its rows, to the last digit."""
        with self._engine.connect() as connection:
            assert queries.rollup_differences(connection) == {}
        self._engine.dispose()

    def _write_rows(self) -> None:
        rng, writer = random.Random(1), Writer(self.url, pricing_of)
        for _ in range(ROWS // BATCH_EVENTS):
            writer.write(make_batch(rng))
        writer.close()


@contextmanager
def writing(url: str) -> Iterator[Any]:
    """Processes that write to the same jobs; the shared count of the rows that they have written."""
    spawn = multiprocessing.get_context("spawn")
    stop, written = spawn.Event(), spawn.Value("q", 0)
    writers = [spawn.Process(target=keep_writing, args=(url, seed, stop, written)) for seed in range(WRITERS)]
    for process in writers:
        process.start()
    while written.value < WRITERS * BATCH_EVENTS:
        time.sleep(0.01)
    try:
        yield written
    finally:
        stop.set()
        for process in writers:
            process.join()
    assert not any(process.exitcode for process in writers)


def keep_writing(url: str, seed: int, stop: Event, written: Any) -> None:
    """Write batches until told to stop."""
    rng, writer = random.Random(seed), Writer(url, pricing_of)
    while not stop.is_set():
        writer.write(make_batch(rng))
        with written.get_lock():
            written.value += BATCH_EVENTS
    writer.close()


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown; a round takes half a minute, so that a third of them is enough."""
    with EmbeddedStack(broker_url="unused://") as stack:
        upgrade_database(stack.database_url)
        repricings = Repricings(stack.database_url)
        beside, alone = interleaved(repricings.beside_writers, repricings.alone, rounds=max(1, rounds // 3)).map(float)
        repricings.check()
    return (
        f"- {ROWS:,} rows: {beside.text(',.0f')} rows/s beside {WRITERS} writers, which write"
        f" {Spread.of(repricings.written).text(',.0f')} rows/s meanwhile; {alone.text(',.0f')} rows/s alone;"
        " every rollup equals its rows afterwards"
    )


if __name__ == "__main__":
    print(main())
