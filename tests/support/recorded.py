"""Events written straight to a database, without a broker in between."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import sqlalchemy as sa

from aurea_celery.clock import new_event_id, now_us
from aurea_celery.events import ModelCall, Source, TaskEvent, Usage, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.write import Writer
from tests.support.databases import connected

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
    writer.write(encode_batch([(sender or source(len(events)), [encode(event) for event in events])]).decode())
    writer.close()


def make_old(url: str, how_long: str) -> None:
    """Change the books as if all that was written had been written so long ago; it is said as PostgreSQL says it."""
    columns = ("last_seen_at", "last_event_at", "open_since")
    changes = ", ".join(f"{column} = {column} - CAST(:how_long AS interval)" for column in columns)
    with connected(url) as connection:
        connection.execute(sa.text(f"UPDATE metrics_sources SET {changes}"), {"how_long": how_long})
