"""From Celery's request of a task to the event of its execution."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aurea_celery.capture.selection import Selection
from aurea_celery.clock import new_event_id, now_us, to_us
from aurea_celery.events import TaskEvent, clean_text

PUBLISHED_HEADER = "aurea_published_us"
RECEIVED_KEY = "aurea_received"
"""In a request: the execution's event id and when the main process received its message, in microseconds UTC."""

# Celery's own tasks are noise, but for those that run the user's inside themselves.
OWN_PREFIXES = ("aurea_celery.", "celery.")
RUNNING_OTHERS = frozenset({"celery.map", "celery.starmap"})


def is_own(task_name: str) -> bool:
    """Whether a task is none of the user's."""
    return task_name.startswith(OWN_PREFIXES) and task_name not in RUNNING_OTHERS


def received_of(request: Any) -> tuple[str, int] | None:
    """Return what :data:`RECEIVED_KEY` is in a request; None where no main process received a message."""
    received = getattr(request, RECEIVED_KEY, None)
    return received if isinstance(received, tuple) else None


def event_of(task: Any, request: Any, job_id: str, selection: Selection, tags: Mapping[str, str]) -> TaskEvent:
    """The event of an execution that begins now, as it will be if the process dies before the next sign of life."""
    event_id, received_us = received_of(request) or (new_event_id(), None)
    started_us = now_us()
    delivery = request.delivery_info or {}
    broker_wait_us, prefetch_wait_us, clock_skewed = _waits(request, received_us, started_us)
    return TaskEvent(
        event_id=event_id,
        job_id=job_id,
        task_name=_name_of(task, request),
        status="lost",
        started_at_us=started_us,
        ended_at_us=started_us,
        latency_us=0,
        task_id=request.id and clean_text(request.id),
        root_id=request.root_id and clean_text(request.root_id),
        parent_id=request.parent_id and clean_text(request.parent_id),
        group_id=request.group and clean_text(request.group),
        attempt=request.retries or 0,
        redelivered=bool(delivery.get("redelivered")),
        worker=selection.worker_label or _name(request.hostname),
        queue=_name(delivery.get("routing_key")),
        broker_wait_us=broker_wait_us,
        prefetch_wait_us=prefetch_wait_us,
        clock_skewed=clock_skewed,
        tags=selection.tags_of(task, request, tags),
    )


def _name_of(task: Any, request: Any) -> str:
    """The task's name; of Celery's map and starmap also that of the task that they run."""
    name = _name(task.name) or "unknown"
    if name not in RUNNING_OTHERS:
        return name
    inner = (request.kwargs or {}).get("task") or next(iter(request.args or ()), None)
    return clean_text(f"{name}({inner['task']})") if isinstance(inner, dict) and "task" in inner else name


def _waits(request: Any, received_us: int | None, started_us: int) -> tuple[int | None, int | None, bool]:
    """How long a message was with the broker, how long with the worker, and whether clocks disagree.

    The first is between two hosts, so that it is only as good as their clocks. What a task was told to wait does not
    count.
    """
    published_us = getattr(request, PUBLISHED_HEADER, None)
    if received_us is None:
        return None, None, False
    broker_us = received_us - published_us if isinstance(published_us, int) else None
    due_us = max(received_us, _eta_us(request.eta)) if request.eta else received_us
    prefetch_us = started_us - due_us
    skewed = prefetch_us < 0 or (broker_us is not None and broker_us < 0)
    return None if broker_us is None else max(0, broker_us), max(0, prefetch_us), skewed


def _eta_us(eta: Any) -> int:
    """When a task was told to run; 0 if that is no time with a zone."""
    try:
        moment = eta if isinstance(eta, datetime) else datetime.fromisoformat(str(eta))
        return to_us(moment)
    except (ValueError, TypeError):
        return 0


@functools.lru_cache(maxsize=1024)
def _name(value: str | None) -> str | None:
    """A text of which there are few: looked at once."""
    return None if value is None else clean_text(value)
