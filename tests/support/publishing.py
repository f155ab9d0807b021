"""What anybody may publish: messages in the writer's queue, as any program can put them there."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery

from aurea_celery.delivery.broker import task_headers
from tests.support.installation import Installation

QUEUE = "aurea_metrics"


def publish(installation: Installation, body: bytes | str, **options: Any) -> None:
    """Put a message into the queue, as any program can."""
    app = Celery("stranger", broker=installation.broker_url)
    with app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(body, routing_key=QUEUE, **{"content_type": "application/json"} | options)
    app.close()


def publish_batch(installation: Installation, batch: str | bytes, embed: Any = None, **headers: Any) -> None:
    """Put a batch into the queue, with headers of one's own."""
    text = batch if isinstance(batch, str) else batch.decode()
    body = json.dumps([[text], {}, {} if embed is None else embed])
    publish(installation, body, content_encoding="utf-8", headers={**task_headers("an id", ""), **headers})
