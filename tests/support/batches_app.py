"""A user's app with tasks of celery-batches: three messages are one run."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery_batches import Batches

from aurea_celery import Aurea, record_usage

app = Celery("batches", broker=os.environ["BROKER_URL"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
Aurea(app, tags={"project": "batches"}, tag_headers=["region"])


@app.task(base=Batches, flush_every=3, flush_interval=2)
def embed(requests: list[Any]) -> None:
    """Spend what the messages say, and tell of it."""
    record_usage(model="gpt-4", total_tokens=sum(request.args[0] for request in requests))
    told.delay()


@app.task(base=Batches, flush_every=3, flush_interval=2)
def fail(requests: list[Any]) -> None:
    """Spend, and come to nothing."""
    record_usage(model="gpt-4", total_tokens=len(requests))
    raise LookupError("nothing of this is stored")


@app.task
def told() -> None:
    """Be sent by a run."""
