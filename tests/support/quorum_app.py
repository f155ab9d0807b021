"""The user's app with quorum queues: its own by Celery's default, and the writer's."""

from __future__ import annotations

from tests.support.user_app import app

__all__ = ["app"]

app.conf.update(
    task_default_queue_type="quorum",
    aurea_queue_arguments={"x-queue-type": "quorum"},
)
