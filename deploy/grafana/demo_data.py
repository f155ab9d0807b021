"""Two weeks of a small team's work, to draw the preview from: invented, and the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from math import pi, sin
from typing import NamedTuple

from msgspec.structs import replace

from aurea_celery.clock import new_event_id, to_us
from aurea_celery.events import ModelCall, Source, Status, TaskEvent, Usage, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.budgets import BudgetKey, set_budget
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.write import Writer

DAYS = 14
BATCH = 500


class Work(NamedTuple):
    """A kind of task: what it is part of, how often it runs, on which model, and how long it takes (median)."""

    job: str
    task: str
    per_hour: float
    provider: str | None
    model: str
    input_tokens: int
    output_tokens: int
    median_ms: int
    by_day: bool


WORK = [
    Work("support-inbox", "support.classify", 14, "openai", "gpt-4.1-mini", 900, 60, 900, True),
    Work("support-inbox", "support.answer", 6, "anthropic", "claude-sonnet-4-5", 2600, 420, 6500, True),
    Work("contract-review", "contracts.extract", 4, "openai", "gpt-4.1", 5200, 700, 9000, True),
    Work("contract-review", "contracts.summarise", 3, "anthropic", "claude-sonnet-4-5", 3900, 800, 12_000, True),
    Work("search-index", "search.embed", 16, "openai", "text-embedding-3-small", 1800, 0, 250, False),
    Work("nightly-digest", "digest.write", 5, "openai", "gpt-4.1", 4300, 950, 14_000, False),
    Work("moderation", "moderation.score", 6, None, "house-model", 700, 20, 180, True),
]
ENDINGS: list[tuple[Status, str | None, float]] = [
    ("retry", "RateLimitError", 0.05),
    ("failure", "BadRequestError", 0.012),
    ("timeout", "SoftTimeLimitExceeded", 0.006),
    ("lost", "WorkerLostError", 0.002),
]
BAD_HOURS = range(52, 58)
"""Hours in which a provider was overloaded."""


def fill(url: str, now: datetime, seed: int = 1) -> int:
    """Write the executions of the days before a time to a migrated database, as the writer does; how many there are."""
    events = sorted(_executions(now, random.Random(seed)), key=lambda event: event.ended_at_us)
    _set_budgets(url)
    writer = Writer(url, pricing_of)
    source_id, captured = new_event_id(), 0
    for first in range(0, len(events), BATCH):
        some = events[first : first + BATCH]
        captured += len(some)
        source = Source(source_id=source_id, host="worker-1", pid=311, captured=captured)
        writer.write(encode_batch([(source, [encode(event) for event in some])]).decode())
    writer.close()
    return len(events)


def _set_budgets(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        set_budget(connection, BudgetKey(job="", task="", period="month"), Decimal(200))
        set_budget(connection, BudgetKey(job="contract-review/*", task="", period="day"), Decimal(4), on_exceed="block")
        set_budget(connection, BudgetKey(job="", task="support.*", period="day"), Decimal(5))
    engine.dispose()


def _executions(now: datetime, chance: random.Random) -> Iterator[TaskEvent]:
    for hour in range(DAYS * 24):
        begin = now - timedelta(hours=hour + 1)
        for work in WORK:
            busy = 1 + 0.9 * sin((begin.hour - 8) / 24 * 2 * pi) if work.by_day else 1
            for _ in range(round(chance.expovariate(1) ** 0.3 * work.per_hour * busy)):
                yield from _tries(work, begin + timedelta(hours=chance.random()), hour, chance)


def _tries(work: Work, ended_at: datetime, hour: int, chance: random.Random) -> Iterator[TaskEvent]:
    """An execution, and before it those that had to be tried again."""
    trouble = 5 if hour in BAD_HOURS and work.provider == "anthropic" else 1
    for attempt in range(4):
        status, error = _ending(trouble, chance)
        event = _execution(work, ended_at + timedelta(seconds=2 * attempt), trouble, chance)
        yield _ended(event, status, error, attempt)
        if status != "retry":
            return


def _ending(trouble: int, chance: random.Random) -> tuple[Status, str | None]:
    drawn = chance.random()
    for status, error, share in ENDINGS:
        drawn -= share * trouble
        if drawn < 0:
            return status, error
    return "success", None


def _execution(work: Work, ended_at: datetime, trouble: int, chance: random.Random) -> TaskEvent:
    latency_us = int(work.median_ms * 1000 * chance.lognormvariate(0, 0.45) * trouble**0.5)
    usage = Usage(
        input_tokens=int(work.input_tokens * chance.lognormvariate(0, 0.4)),
        output_tokens=int(work.output_tokens * chance.lognormvariate(0, 0.4)),
    )
    return TaskEvent(
        event_id=new_event_id(),
        job_id=f"{work.job}/{ended_at:%m-%d}",
        task_name=work.task,
        status="success",
        started_at_us=to_us(ended_at) - latency_us,
        ended_at_us=to_us(ended_at),
        latency_us=latency_us,
        broker_wait_us=int(80_000 * chance.lognormvariate(0, 0.8) * trouble),
        prefetch_wait_us=int(15_000 * chance.lognormvariate(0, 0.6)),
        calls=(ModelCall(usage=usage, provider=work.provider, model=work.model),),
    )


def _ended(event: TaskEvent, status: Status, error: str | None, attempt: int) -> TaskEvent:
    calls = () if error == "RateLimitError" and attempt % 2 else event.calls
    return replace(event, status=status, error_type=error, attempt=attempt, calls=calls)
