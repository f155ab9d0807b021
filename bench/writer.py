"""Rows per second from message to commit, beside raw COPY of the same rows into the same table."""

from __future__ import annotations

import csv
import functools
import io
import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from aurea_celery.clock import new_event_id, now_us
from aurea_celery.embedded import EmbeddedStack
from aurea_celery.events import ModelCall, Source, TaskEvent, Usage, encode, encode_batch
from aurea_celery.models import upgrade_database
from aurea_celery.price_lists import pricing_of
from aurea_celery.pricing import PriceBook
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.rows import COLUMNS, Row, rows_of
from aurea_celery.storage.write import Writer
from bench.ratio import Pair, interleaved

BOOK = PriceBook()
BATCH_EVENTS = 500
BATCHES = 12
MODELS = ("gpt-4", "gpt-3.5-turbo", "claude-3-opus")
TASKS = ("summarise", "extract", "classify", "embed")
Job = Callable[[random.Random], str]


def few_jobs(rng: random.Random) -> str:
    """One of twenty jobs."""
    return f"job-{rng.randrange(20)}"


def own_job(_rng: random.Random) -> str:
    """A job of its own."""
    return new_event_id()


def make_event(rng: random.Random, job: Job = few_jobs) -> TaskEvent:
    """One event as a worker makes it: one call of one model."""
    ended_us = now_us()
    latency_us = int(rng.lognormvariate(14, 0.8))  # around 1.2 s
    usage = Usage(input_tokens=rng.randrange(1, 4_000), output_tokens=rng.randrange(1, 800))
    return TaskEvent(
        event_id=new_event_id(),
        job_id=job(rng),
        task_name=f"app.{rng.choice(TASKS)}",
        status="success",
        started_at_us=ended_us - latency_us,
        ended_at_us=ended_us,
        latency_us=latency_us,
        task_id=new_event_id(),
        root_id=new_event_id(),
        worker="celery@host",
        queue="celery",
        broker_wait_us=rng.randrange(1_000, 50_000),
        prefetch_wait_us=rng.randrange(10, 5_000),
        calls=(ModelCall(usage=usage, model=rng.choice(MODELS)),),
    )


def make_batch(rng: random.Random, job: Job = few_jobs) -> str:
    """One message's argument."""
    source = Source(source_id=new_event_id(), host="host", pid=1, captured=BATCH_EVENTS)
    return encode_batch([(source, [encode(make_event(rng, job)) for _ in range(BATCH_EVENTS)])]).decode()


def measure(database_url: str, rounds: int, job: Job) -> Pair:
    """Seconds per round of the writer and of COPY, taking turns."""
    rng = random.Random(1)
    writer, engine = Writer(database_url, pricing_of), create_engine(database_url)

    def through_writer() -> float:
        batches = [make_batch(rng, job) for _ in range(BATCHES)]
        return _seconds(writer.write, batches)

    def raw_copy() -> float:
        events = [[make_event(rng, job) for _ in range(BATCH_EVENTS)] for _ in range(BATCHES)]
        texts = [to_csv([row for event in batch for row in rows_of(event, BOOK.cost)]) for batch in events]
        return _seconds(functools.partial(copy_batch, engine), texts)

    try:
        return interleaved(through_writer, raw_copy, rounds=rounds)
    finally:
        writer.close()
        engine.dispose()


def to_csv(rows: list[Row]) -> str:
    """Rows as COPY takes them."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def copy_batch(engine: sa.Engine, text: str) -> None:
    """Write rows with one COPY and one commit."""
    with engine.begin() as connection:
        raw: Any = connection.connection.dbapi_connection
        with raw.cursor() as cursor:
            cursor.copy_expert(f"COPY metrics ({', '.join(COLUMNS)}) FROM STDIN (FORMAT csv)", io.StringIO(text))


def _seconds(write: Callable[[str], object], texts: list[str]) -> float:
    begun = time.perf_counter()
    for text in texts:
        write(text)
    return time.perf_counter() - begun


def main(rounds: int = 15) -> str:
    """Measure and describe both workloads, one line of Markdown each."""
    workloads = {"20 jobs": few_jobs, "a job per event": own_job}
    return "\n".join(f"- {name}: {_described(rounds, job)}" for name, job in workloads.items())


def _described(rounds: int, job: Job) -> str:
    with EmbeddedStack(broker_url="unused://") as stack:
        upgrade_database(stack.database_url)
        pair = measure(stack.database_url, rounds, job)
    rows = BATCHES * BATCH_EVENTS
    writer, copied = pair.map(lambda seconds: rows / seconds)
    return (
        f"writer {writer.text(',.0f')} rows/s, raw COPY {copied.text(',.0f')} rows/s; "
        f"writer / COPY = {pair.inverse_ratio().text('.2f')} (aim: at least {Decimal('0.33')})"
    )


if __name__ == "__main__":
    print(main())
