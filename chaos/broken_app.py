"""The same app with a bug put into it on purpose: its writer acknowledges a message before the commit."""

from __future__ import annotations

from aurea_celery.delivery.broker import WRITE_TASK
from chaos.app import app

__all__ = ["app"]

app.tasks[WRITE_TASK].acks_late = False
