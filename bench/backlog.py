"""A backlog of many events: what capturing it takes, what waits at the broker, and how fast writers get through it.

Not part of what ``make bench`` does by itself, because it takes minutes: ``make bench ARGS=backlog``. Real processes
all the way: one captures with ``monitor_task``, and ``celery aurea writer`` writes, on a private Valkey and PostgreSQL.
One writer alone gets through the first half, two together through the second. Beside it, in the same run and on the
same server, rows like these go through raw COPY, as in :mod:`bench.writer`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis
import sqlalchemy as sa

from aurea_celery.embedded import EmbeddedStack
from aurea_celery.models import upgrade_database
from aurea_celery.pricing import PriceBook
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.rows import rows_of
from bench.memory import resident_bytes
from bench.writer import BATCH_EVENTS, copy_batch, few_jobs, make_event, to_csv

ROOT = Path(__file__).parents[1]
QUEUE = "aurea_metrics"
SAMPLE_SECONDS, PATIENCE_SECONDS, WARM_UP_BATCHES = 0.05, 600.0, 10
COPIED_BATCHES = 200
BOOK = PriceBook()
MEBIBYTE = 1024 * 1024


class Captured(NamedTuple):
    """What capturing took: microseconds an event, memory after a tenth of it and at most, and bytes at the broker."""

    us_per_event: float
    early_mebibytes: float
    most_mebibytes: float
    broker_bytes_per_event: float


class Memory:
    """The most memory of a writer's main process and of a child, sample by sample, in bytes."""

    def __init__(self) -> None:
        self.main: list[int] = []
        self.child: list[int] = []

    def sample(self, writers: list[subprocess.Popen[bytes]]) -> None:
        """Look now."""
        children = [
            int(child)
            for writer in writers
            for child in Path(f"/proc/{writer.pid}/task/{writer.pid}/children").read_text().split()
        ]
        self.main.append(max(resident_bytes(writer.pid) for writer in writers))
        self.child.append(max(map(resident_bytes, children)))

    def text(self) -> str:
        """After a tenth of the time, and at most."""
        kinds = {"main process": self.main, "child": self.child}
        return ", ".join(
            f"{kind} {samples[len(samples) // 10] / MEBIBYTE:,.0f} MiB after a tenth of the time,"
            f" {max(samples) / MEBIBYTE:,.0f} MiB at most"
            for kind, samples in kinds.items()
        )


class Run:
    """One run on servers of its own."""

    def __init__(self, stack: EmbeddedStack, events: int) -> None:
        self._events = events
        self._engine = create_engine(stack.database_url)
        self._broker_url = stack.broker_url
        self._environ = os.environ | {
            "BROKER_URL": stack.broker_url,
            "DATABASE_URL": stack.database_url,
            "AUREA_OUTBOX_DIR": str(stack.folder / "outbox"),
            "AUREA_OUTBOX_MAX_BYTES": str(2**40),
            "AUREA_QUEUE_MAX_MESSAGES": str(events),
            "AUREA_KEEP_SENT_SECONDS": "0",
            "AUREA_SHUTDOWN_FLUSH_SECONDS": "600",
        }
        self.memory = Memory()

    def capture(self) -> Captured:
        """Fill the queue."""
        command = [sys.executable, "-m", "bench.backlog_app", str(self._events)]
        done = subprocess.run(command, cwd=ROOT, env=self._environ, check=True, stdout=subprocess.PIPE)
        said = json.loads(done.stdout)
        resident = [count / MEBIBYTE for count in said["resident_bytes"]]
        with redis.Redis.from_url(self._broker_url) as client:
            queued = int(client.memory_usage(QUEUE, samples=0) or 0)
        return Captured(said["seconds"] / self._events * 1e6, resident[1], max(resident), queued / self._events)

    def write(self) -> tuple[float, float]:
        """Let one writer write the first half and two the second; rows a second of each."""
        with self._writer() as first:
            alone = self._rate([first], self._events // 2)
            with self._writer() as second:
                together = self._rate([first, second], self._events)
        return alone, together

    def copy(self) -> float:
        """Rows a second through raw COPY."""
        rng = random.Random()
        events = ((make_event(rng, few_jobs) for _ in range(BATCH_EVENTS)) for _ in range(COPIED_BATCHES))
        texts = [to_csv([row for event in batch for row in rows_of(event, BOOK.cost)]) for batch in events]
        begun = time.perf_counter()
        for text in texts:
            copy_batch(self._engine, text)
        return COPIED_BATCHES * BATCH_EVENTS / (time.perf_counter() - begun)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _writer(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "bench.backlog_app", "--quiet"]
        command += ["aurea", "writer", "--loglevel", "WARNING"]
        process = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)

    def _rate(self, writers: list[subprocess.Popen[bytes]], until: int) -> float:
        """Rows a second, from when the last writer has begun until so many are written."""
        begun_at = self._wait_for(self._written() + WARM_UP_BATCHES * BATCH_EVENTS * len(writers), writers)
        begun = time.perf_counter()
        ended_at = self._wait_for(until, writers)
        return (ended_at - begun_at) / (time.perf_counter() - begun)

    def _wait_for(self, count: int, writers: list[subprocess.Popen[bytes]]) -> int:
        """Wait until so many events are written; how many really are."""
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while (written := self._written()) < count:
            if time.monotonic() > patient_until:
                raise TimeoutError(f"only {written} events of {count} are written")
            time.sleep(SAMPLE_SECONDS)
            self.memory.sample(writers)
        return written

    def _written(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(sa.text("SELECT coalesce(sum(written), 0) FROM metrics_sources")) or 0)


def main(events: int = 1_000_000) -> str:
    """Measure and describe, in Markdown."""
    with EmbeddedStack() as stack:
        upgrade_database(stack.database_url)
        run = Run(stack, events)
        try:
            captured = run.capture()
            copied_before = run.copy()
            alone, together = run.write()
            copied = (copied_before + run.copy()) / 2
        finally:
            run.close()
    return (
        f"- capture of {events:,} executions: {captured.us_per_event:.0f} us each with the publisher's work, "
        f"{captured.early_mebibytes:,.0f} MiB after a tenth, {captured.most_mebibytes:,.0f} MiB at most; "
        f"{captured.broker_bytes_per_event:.0f} bytes per event at the broker\n"
        f"- one writer {alone:,.0f} rows/s, two {together:,.0f} rows/s, raw COPY {copied:,.0f} rows/s; "
        f"one / COPY = {alone / copied:.2f}, two / COPY = {together / copied:.2f}\n"
        f"- memory of a writer: {run.memory.text()}"
    )


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
