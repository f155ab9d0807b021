"""From events to rows of ``metrics``: one row per event and model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from aurea_celery.clock import from_us
from aurea_celery.events import Cost, ModelCall, TaskEvent

Price = Callable[[ModelCall, datetime], Cost]

NO_MODEL, UNKNOWN_MODEL = "none", "unknown"
# Several calls of one model in one row: money first, then what is missing.
STATUS_ORDER = ("priced", "unpriced", "invalid", "free", "no_usage")


class Row(NamedTuple):
    """One row of ``metrics``; the names are its columns."""

    event_id: str
    seq: int
    created_at: datetime
    started_at: datetime
    job_id: str
    task_name: str
    model_used: str
    executions: int
    status: str
    calls: int
    token_count: int
    latency_ms: Decimal
    cost_estimate: Decimal
    cost_status: str
    cost_source: str | None
    cost_problem: str | None
    price_version: str | None
    unpriced_tokens: int
    provider_name: str | None
    response_model: str | None
    service_tier: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None
    reasoning_output_tokens: int | None
    time_to_first_token_ms: Decimal | None
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
    tags: str


def rows_of(event: TaskEvent, price: Price) -> list[Row]:
    """The rows of an event: one per model, the first of which stands for the execution."""
    by_model: dict[str, list[ModelCall]] = {}
    for call in event.calls:
        by_model.setdefault(_model_of(call), []).append(call)
    groups = list(by_model.items()) or [(NO_MODEL, [])]
    return [_row(event, seq, model, calls, price) for seq, (model, calls) in enumerate(groups)]


def _model_of(call: ModelCall) -> str:
    return call.model or call.response_model or UNKNOWN_MODEL


def _row(event: TaskEvent, seq: int, model: str, calls: list[ModelCall], price: Price) -> Row:
    ended_at = from_us(event.ended_at_us)
    costs = [price(call, ended_at) for call in calls]
    priced = [cost for cost in costs if cost.status == "priced"]
    leading = min(costs, key=lambda cost: STATUS_ORDER.index(cost.status), default=Cost("no_usage"))
    missing = next((cost.problem for cost in costs if cost.problem), None)
    first = calls[0] if calls else None
    return Row(
        event_id=event.event_id,
        seq=seq,
        created_at=ended_at,
        started_at=from_us(event.started_at_us),
        job_id=event.job_id,
        task_name=event.task_name,
        model_used=model,
        executions=int(seq == 0),
        status=event.status,
        calls=len(calls),
        token_count=sum(call.usage.token_count for call in calls),
        latency_ms=_ms(event.latency_us if seq == 0 else 0),
        cost_estimate=sum((cost.usd for cost in priced), Decimal(0)),
        cost_status=leading.status,
        cost_source=leading.source,
        cost_problem=missing,
        price_version=leading.version,
        unpriced_tokens=sum(
            call.usage.token_count
            for call, cost in zip(calls, costs, strict=True)
            if cost.status in ("unpriced", "invalid")
        ),
        provider_name=first.provider if first else None,
        response_model=first.response_model if first else None,
        service_tier=first.service_tier if first else None,
        input_tokens=_sum(calls, "input_tokens"),
        output_tokens=_sum(calls, "output_tokens"),
        cache_read_input_tokens=_sum(calls, "cache_read_input_tokens"),
        cache_write_input_tokens=_sum(calls, "cache_write_input_tokens"),
        reasoning_output_tokens=_sum(calls, "reasoning_output_tokens"),
        time_to_first_token_ms=_maybe_ms(first.time_to_first_token_us if first else None),
        error_type=event.error_type,
        task_id=event.task_id,
        root_id=event.root_id,
        parent_id=event.parent_id,
        group_id=event.group_id,
        parent_event_id=event.parent_event_id,
        attempt=event.attempt,
        redelivered=event.redelivered,
        worker=event.worker,
        queue=event.queue,
        broker_wait_ms=_maybe_ms(event.broker_wait_us),
        prefetch_wait_ms=_maybe_ms(event.prefetch_wait_us),
        tags=msgspec.json.encode(event.tags).decode(),
    )


def _sum(calls: list[ModelCall], field: str) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = [value for call in calls if (value := getattr(call.usage, field)) is not None]
    return sum(known) if known else None


def _ms(microseconds: int) -> Decimal:
    return Decimal(microseconds).scaleb(-3)


def _maybe_ms(microseconds: int | None) -> Decimal | None:
    return None if microseconds is None else _ms(microseconds)


def copy_line(values: tuple[Any, ...]) -> str:
    r"""One line of PostgreSQL's COPY text format.

    >>> copy_line(("a\tb", None, 1))
    'a\\tb\t\\N\t1\n'
    """
    return "\t".join([_copy_value(value) for value in values]) + "\n"


def _copy_value(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
            value = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
