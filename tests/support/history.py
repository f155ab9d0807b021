"""Executions of every kind over two days on which clocks change, to ask questions about."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from aurea_celery.clock import to_us
from aurea_celery.events import STATUSES, ModelCall, TaskEvent, Usage
from tests.support.recorded import execution

BEGIN = datetime(2025, 10, 25, 9, 7, 31, tzinfo=UTC)  # in Madrid the clocks go back in the next night
END = BEGIN + timedelta(hours=40)
JOBS, TASKS = ("nightly", "chat/1", "chat/2"), ("shop.ask", "shop.draw", "shop.pay")
MODELS, PROVIDERS = ("gpt-4", "claude-3-haiku", "house-model"), ("openai", "anthropic", None)
TAGS: tuple[dict[str, str], ...] = ({}, {"team": "search"}, {"team": "ads", "tier": "gold"})


def history(seed: int, count: int) -> list[TaskEvent]:
    """So many executions."""
    chance = random.Random(seed)
    return [_execution(chance) for _ in range(count)]


def _execution(chance: random.Random) -> TaskEvent:
    calls = [_call(chance) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
    ended_at = BEGIN + chance.random() * (END - BEGIN)
    event = execution(
        chance.choice(JOBS),
        chance.choice(TASKS),
        latency_ms=int(chance.lognormvariate(6, 2)),
        ended_at_us=to_us(ended_at),
    )
    return replace(
        event,
        status=chance.choice(STATUSES) if chance.random() < 0.3 else "success",
        tags=chance.choice(TAGS),
        redelivered=chance.random() < 0.1,
        calls=tuple(calls),
    )


def _call(chance: random.Random) -> ModelCall:
    tokens_in, tokens_out = chance.randrange(5000), chance.randrange(500)
    return ModelCall(
        usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out),
        model=chance.choice(MODELS),
        provider=chance.choice(PROVIDERS),
        cost_usd=Decimal(chance.randrange(10**6)) / 10**6 if chance.random() < 0.5 else None,
    )
