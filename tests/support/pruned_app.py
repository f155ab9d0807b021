"""A user's app whose beat asks for upkeep, as docs/operations.md shows it, but more often."""

from __future__ import annotations

from tests.support.user_app import app

app.conf.aurea_retention_days = 90
app.conf.task_compression = "gzip"
app.conf.task_routes = {"*": {"queue": "elsewhere"}}
app.conf.beat_schedule = {"aurea-prune": {"task": "aurea_celery.prune", "schedule": 0.5}}
