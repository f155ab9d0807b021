"""Tasks of celery-batches, which run once for many messages: their request is empty, their failure is only logged.

What the messages of a flush have in common is taken for its request.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

from celery.app.task import Context

from aurea_celery.capture import jobs
from aurea_celery.capture.context import NO_JOB

PACKAGE = "celery_batches"
_LOGGER = f"{PACKAGE}.trace"

_error_type: ContextVar[str | None] = ContextVar("aurea_batch_error", default=None)


def request_and_job(task: Any, args: Any) -> tuple[Any, jobs.Job]:
    """Return the request of a task that runs, and its job; of a flush what all of its messages share."""
    messages = _messages(task, args)
    if not messages:
        return task.request, jobs.job_of(task, task.request)
    logging.getLogger(_LOGGER).addFilter(_note_error)
    found = [jobs.job_of(task, Context(message)) for message in messages]
    tags = _shared([dict(job.tags) for job in found])
    job = found[0] if len({job[:2] for job in found}) == 1 else jobs.Job(NO_JOB, is_named=False, tags={})
    return Context(_shared(messages)), job._replace(tags=tags)


def error_type() -> str | None:
    """Return the class of what a flush failed with, once."""
    name = _error_type.get()
    _error_type.set(None)
    return name


def _messages(task: Any, args: Any) -> list[dict[str, Any]]:
    """What was received with each message of a flush; nothing for any other task, or one that runs eagerly."""
    package = sys.modules.get(PACKAGE)
    if package is None or task.request.id is not None or not isinstance(task, package.Batches):
        return []
    return [request.request_dict or {} for request in args[0]]


def _shared(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all say alike."""
    first, *others = messages
    return {key: value for key, value in first.items() if all(key in other and other[key] == value for other in others)}


def _note_error(record: logging.LogRecord) -> bool:
    """Look at what celery-batches logs: it tells nobody else why a flush failed."""
    if record.exc_info and record.exc_info[0] is not None:
        _error_type.set(record.exc_info[0].__name__)
    return True
