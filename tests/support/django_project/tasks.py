"""Tasks that know no app."""

from __future__ import annotations

from celery import shared_task

from aurea_celery import monitor_task, record_usage


@shared_task
def shared(tokens: int) -> None:
    """Spend."""
    record_usage(model="gpt-4", total_tokens=tokens)


@shared_task
@monitor_task(model_used="gpt-4")
def monitored(tokens: int) -> tuple[str, int]:
    """Return the document's pair."""
    return "text", tokens


@shared_task
def hidden() -> None:
    """Not to be recorded."""
