"""The project's Celery app: lazy, with its tasks found by name."""

from __future__ import annotations

import os

from celery import Celery

from aurea_celery import Aurea

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.django_project.settings")

app = Celery("django_project")
Aurea(app)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
