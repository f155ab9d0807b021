"""A user's app on any broker: its URL and its transport options are given."""

from __future__ import annotations

import json
import os

from celery import Celery

from aurea_celery import Aurea, record_usage

app = Celery("broker_app", broker=os.environ["BROKER_URL"])
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ["BROKER_OPTIONS"]),
)
Aurea(app)


@app.task
def spend(tokens: int) -> None:
    """Spend tokens on a model."""
    record_usage(model="gpt-4", input_tokens=tokens, output_tokens=1)
