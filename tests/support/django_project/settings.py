"""The project's settings; Celery's, and ours with them, have the prefix ``CELERY_``."""

from __future__ import annotations

import os

SECRET_KEY = "for tests"  # noqa: S105 - nothing is behind it
USE_TZ = True
INSTALLED_APPS = ["tests.support.django_project"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

CELERY_BROKER_URL = os.environ["BROKER_URL"]
CELERY_TASK_DEFAULT_QUEUE = "django"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_AUREA_TAGS = {"project": "django"}
CELERY_AUREA_EXCLUDE = ["*.hidden"]
