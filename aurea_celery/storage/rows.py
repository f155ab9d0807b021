"""From events to rows of ``metrics``: one row per event and model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Context, Decimal
from typing import NamedTuple

import msgspec

from aurea_celery.clock import from_us
from aurea_celery.events import Cost, CostStatus, ModelCall, TaskEvent, Usage

Price = Callable[[ModelCall, datetime], Cost]

NO_MODEL, UNKNOWN_MODEL = "none", "unknown"
UNPRICED = ("unpriced", "invalid")
ZERO, MILLISECONDS = Decimal(0), Decimal("0.001")
EXACT = Context(prec=1000)  # Python's default rounds every sum to 28 digits

# Of several calls of one model in one row, the status that says most: money first, then what is missing.
STATUS_RANK: dict[CostStatus, int] = {"priced": 0, "unpriced": 1, "invalid": 2, "free": 3, "no_usage": 4}


class ExecutionPart(NamedTuple):
    """The columns of ``metrics`` that are the same on every row of an event."""

    event_id: str
    created_at: datetime
    started_at: datetime
    job_id: str
    task_name: str
    status: str
    error_type: str | None
    task_id: str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    parent_event_id: str | None
    attempt: int
    redelivered: bool
    worker: str | None
    queue: str | None
    broker_wait_ms: Decimal | None
    prefetch_wait_ms: Decimal | None
    clock_skewed: bool
    tags: str


class Tokens(NamedTuple):
    """The token columns of ``metrics``."""

    token_count: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    cache_write_1h_input_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None


class Money(NamedTuple):
    """The cost columns of ``metrics``."""

    unpriced_tokens: int
    cost_estimate: Decimal
    cost_status: CostStatus
    cost_source: str | None = None
    cost_problem: str | None = None
    price_version: str | None = None


class ModelPart(NamedTuple):
    """The other columns of ``metrics``, about one model of an event; the first row has the execution's latency."""

    seq: int
    executions: int
    latency_ms: Decimal
    model_used: str
    calls: int
    provider_name: str | None = None
    response_model: str | None = None
    service_tier: str | None = None
    time_to_first_token_ms: Decimal | None = None
    call_usages: str | None = None


COLUMNS = (*ExecutionPart._fields, *ModelPart._fields, *Tokens._fields, *Money._fields)
Row = tuple[object, ...]
"""One row of ``metrics``: its values in the order of :data:`COLUMNS`."""


def rows_of(event: TaskEvent, price: Price) -> list[Row]:
    """The rows of an event: one per model, the first of which stands for the execution."""
    execution = _execution_part(event)
    latency_ms = event.latency_us * MILLISECONDS
    by_model: dict[str, list[ModelCall]] = {}
    for call in event.calls:
        by_model.setdefault(call.model or call.response_model or UNKNOWN_MODEL, []).append(call)
    rows: list[Row] = []
    for seq, (model, calls) in enumerate(by_model.items()):
        costs = [price(call, execution.created_at) for call in calls]
        rows.append((*execution, *_model_part(seq, latency_ms, model, calls), *_tokens(calls), *money_of(calls, costs)))
    return rows or [(*execution, *ModelPart(0, 1, latency_ms, NO_MODEL, 0), *Tokens(0), *Money(0, ZERO, "no_usage"))]


def _execution_part(event: TaskEvent) -> ExecutionPart:
    return ExecutionPart(
        event.event_id,
        from_us(event.ended_at_us),
        from_us(event.started_at_us),
        event.job_id,
        event.task_name,
        event.status,
        event.error_type,
        event.task_id,
        event.root_id,
        event.parent_id,
        event.group_id,
        event.parent_event_id,
        event.attempt,
        event.redelivered,
        event.worker,
        event.queue,
        _maybe_ms(event.broker_wait_us),
        _maybe_ms(event.prefetch_wait_us),
        event.clock_skewed,
        msgspec.json.encode(event.tags).decode() if event.tags else "{}",
    )


def _model_part(seq: int, latency_ms: Decimal, model: str, calls: list[ModelCall]) -> ModelPart:
    first = calls[0]
    return ModelPart(
        seq,
        0 if seq else 1,
        ZERO if seq else latency_ms,
        model,
        len(calls),
        first.provider,
        first.response_model,
        first.service_tier,
        _maybe_ms(first.time_to_first_token_us),
        _call_usages(calls) if len(calls) > 1 else None,
    )


def _call_usages(calls: list[ModelCall]) -> str:
    """What a price depends on, call by call: the price of a long call is not that of two short ones."""
    none = dict.fromkeys(("model", "latency_us", "time_to_first_token_us"))
    return msgspec.json.encode([msgspec.structs.replace(call, **none) for call in calls]).decode()


def _tokens(calls: list[ModelCall]) -> Tokens:
    """The sums of what is known; None where nothing is."""
    if len(calls) == 1:
        return _tokens_of(calls[0].usage)
    each = [_tokens_of(call.usage) for call in calls]
    known = [[count for count in counts if count is not None] for counts in zip(*each, strict=True)]
    return Tokens._make([sum(counts) if counts else None for counts in known])


def _tokens_of(usage: Usage) -> Tokens:
    return Tokens(
        usage.token_count,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_write_input_tokens,
        usage.reasoning_output_tokens,
        usage.cache_write_1h_input_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
    )


def money_of(calls: list[ModelCall], costs: list[Cost]) -> Money:
    """The sum of the costs that are known, and how many tokens have none."""
    leading = min(costs, key=_rank) if len(costs) > 1 else costs[0]
    usd, unpriced_tokens, problem = ZERO, 0, None
    for call, cost in zip(calls, costs, strict=True):
        problem = problem or cost.problem
        if cost.status == "priced":
            usd = EXACT.add(usd, cost.usd)
        elif cost.status in UNPRICED:
            unpriced_tokens += call.usage.token_count
    return Money(unpriced_tokens, usd, leading.status, leading.source, problem, leading.version)


def _rank(cost: Cost) -> int:
    return STATUS_RANK[cost.status]


def _maybe_ms(microseconds: int | None) -> Decimal | None:
    return None if microseconds is None else microseconds * MILLISECONDS
