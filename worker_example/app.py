"""The Celery app. One line of it is aurea-celery.

Run it by hand, with ``BROKER_URL`` set and, for the writer and the API, ``DATABASE_URL``::

    celery -A worker_example.app worker --concurrency 2
    celery -A worker_example.app aurea writer
    aurea serve
"""

from __future__ import annotations

import os

from celery import Celery

from aurea_celery import Aurea

BROKER_VARIABLE = "BROKER_URL"
QUEUE_VARIABLE = "WORKER_EXAMPLE_QUEUE"

broker_url = os.environ.get(BROKER_VARIABLE, "redis://127.0.0.1:6379/0")
app = Celery("worker_example", broker=broker_url, backend=broker_url, include=["worker_example.tasks"])
app.conf.update(
    task_default_exchange="worker_example",
    task_default_queue=os.environ.get(QUEUE_VARIABLE, "worker_example"),
    result_expires=600,
    broker_connection_retry_on_startup=True,
)
aurea = Aurea(app)
