"""Events written straight to a database, without a broker in between."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from aurea_celery.clock import new_event_id, now_us
from aurea_celery.events import ModelCall, Source, TaskEvent, Usage
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.write import Writer

HOST = "test"


def model_call(model: str = "gpt-4", tokens: int = 500, cost_usd: str | None = None) -> ModelCall:
    """A call of which only the total is known."""
    return ModelCall(
        usage=Usage(total_tokens=tokens), model=model, cost_usd=None if cost_usd is None else Decimal(cost_usd)
    )


def execution(
    job_id: str = "job_123",
    task_name: str = "text_generation",
    *calls: ModelCall,
    latency_ms: int = 1000,
    ended_at_us: int | None = None,
) -> TaskEvent:
    """An execution that succeeded; one call of gpt-4 unless others are given."""
    end = now_us() if ended_at_us is None else ended_at_us
    return TaskEvent(
        event_id=new_event_id(),
        job_id=job_id,
        task_name=task_name,
        status="success",
        started_at_us=end - latency_ms * 1000,
        ended_at_us=end,
        latency_us=latency_ms * 1000,
        calls=calls or (model_call(),),
    )


def without_call(event: TaskEvent) -> TaskEvent:
    """The same execution, but it called no model."""
    return msgspec.structs.replace(event, calls=())


def source(captured: int, **dropped: int) -> Source:
    """A new process of the host."""
    return Source(source_id=new_event_id(), host=HOST, pid=1, captured=captured, dropped=dropped)


def write(url: str, *events: TaskEvent, sender: Source | None = None) -> None:
    """Write events as the writer does."""
    writer = Writer(url, pricing_of)
    writer.write_events(sender or source(len(events)), list(events))
    writer.close()
