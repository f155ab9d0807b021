"""Tasks that know no app."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from django.db import transaction

from aurea_celery import job, monitor_task, record_usage


@shared_task
def shared(tokens: int) -> None:
    """Spend."""
    record_usage(model="gpt-4", total_tokens=tokens)


@shared_task
@monitor_task(model_used="gpt-4")
def monitored(tokens: int) -> tuple[str, int]:
    """Return the document's pair."""
    return "text", tokens


class OwnTask(DjangoTask):  # type: ignore[type-arg]  # generic in its type hints alone
    """A task class of the project's own."""


@shared_task(base=OwnTask)
def owned(tokens: int) -> None:
    """Spend, as a task of that class."""
    record_usage(model="gpt-4", total_tokens=tokens)


@shared_task
def send_when_committed(tokens: int) -> None:
    """Send another task in a transaction."""
    later: Any = shared  # the type hints of shared_task do not know Celery's class for Django
    with transaction.atomic(), job("inside", tags={"step": "second"}):
        later.delay_on_commit(tokens)


@shared_task
def hidden() -> None:
    """Not to be recorded."""
