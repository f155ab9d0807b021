"""Celery's signals: one module-level handler each, connected once, routed by the task's app.

``before_task_publish``   in whoever publishes: hands the job on
``task_received``         in the worker's main process: gives the execution its id and notes when it arrived
``task_prerun``           where the task runs: the execution begins
``task_postrun``          where the task runs: the execution ends
"""

from __future__ import annotations

import sys
from typing import Any

from celery import current_task, signals

from aurea_celery._guard import guarded
from aurea_celery.capture.context import Execution, current_execution, current_job, new_event, set_current
from aurea_celery.capture.registry import is_in_use, sink_of
from aurea_celery.capture.results import count_result
from aurea_celery.clock import new_event_id, now_us
from aurea_celery.events import Status, clean_text

JOB_HEADER = "aurea_job"
PUBLISHED_HEADER = "aurea_published_us"
RECEIVED_KEY = "aurea_received"
# Celery's own tasks are noise, but for those that run the user's inside themselves.
OWN_PREFIXES = ("aurea_celery.", "celery.")
RUNNING_OTHERS = frozenset({"celery.map", "celery.starmap"})

STATUS_OF_STATE: dict[str | None, Status] = {
    "SUCCESS": "success",
    "FAILURE": "failure",
    "RETRY": "retry",
    "IGNORED": "ignored",
    "REJECTED": "rejected",
    "REVOKED": "revoked",
}


def connect() -> None:
    """Connect the handlers; safe to repeat."""
    for signal, handler in _HANDLERS:
        signal.connect(handler, weak=False, dispatch_uid=f"aurea_celery.{handler.__name__}")


def disconnect() -> None:
    """Disconnect the handlers."""
    for signal, handler in _HANDLERS:
        signal.disconnect(dispatch_uid=f"aurea_celery.{handler.__name__}")


@guarded
def on_publish(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    """Called in whoever publishes a task, before it goes out; changes headers only."""
    if headers is None or not is_in_use():
        return
    # Celery copies unknown headers on a retry: what belongs to one message must not reach the next.
    headers.pop(RECEIVED_KEY, None)
    headers[PUBLISHED_HEADER] = now_us()
    job_id = current_job() or _job_of_message(str(headers.get("task")), body)
    if job_id:
        headers[JOB_HEADER] = job_id


def _job_of_message(name: str, body: Any) -> str | None:
    """The job of a message that is published outside of any job and execution, if it is part of something larger."""
    around = getattr(current_task, "request", None)  # of a task of Celery's own, which has no execution
    handed_on: str | None = getattr(around, JOB_HEADER, None)
    if handed_on or not isinstance(body, tuple):
        return handed_on
    args, _, embedded = body
    if name == "celery.chord_unlock":
        group_id: str | None = args[0]
        return group_id
    # Of a chain in a group only the last step knows the group; steps are kept in reverse.
    steps = embedded.get("chain")
    return steps[0].get("options", {}).get("group_id") if steps else None


@guarded
def on_received(request: Any = None, **_: Any) -> None:
    """Called in the worker's main process for each message; the dictionary travels to the child."""
    if request is not None and sink_of(request.app) is not None:
        request.request_dict[RECEIVED_KEY] = (new_event_id(), now_us())


@guarded
def on_prerun(task: Any = None, **_: Any) -> None:
    """Called where the task runs, just before its body; may not do network I/O."""
    sink = sink_of(task.app)
    request = task.request
    if sink is None or request.is_eager or _is_own(task.name):
        return
    event_id, received_us = getattr(request, RECEIVED_KEY, None) or (None, None)
    delivery = request.delivery_info or {}
    started_us = now_us()
    event = new_event(
        getattr(request, JOB_HEADER, None) or request.group or request.root_id or request.id,
        task.name,
        event_id=event_id,
        task_id=_text(request.id),
        root_id=_text(request.root_id),
        parent_id=_text(request.parent_id),
        group_id=_text(request.group),
        attempt=request.retries or 0,
        redelivered=bool(delivery.get("redelivered")),
        worker=_text(request.hostname),
        queue=_text(delivery.get("routing_key")),
        broker_wait_us=_wait(getattr(request, PUBLISHED_HEADER, None), received_us),
        prefetch_wait_us=None if request.eta else _wait(received_us, started_us),
    )
    execution = Execution(sink, event, task=task)
    # State of a run lives on its request and dies with it; the task id is not unique among executions.
    request.aurea_execution = (execution, current_execution())
    set_current(execution)


@guarded
def on_postrun(task: Any = None, retval: Any = None, state: str | None = None, **_: Any) -> None:
    """Called where the task ran, after its body, however that ended; ``state`` is None if it was cut short."""
    request = task.request
    execution, before = getattr(request, "aurea_execution", None) or (None, None)
    if execution is None:
        return
    request.aurea_execution = None
    set_current(before)
    if state == "SUCCESS":
        count_result(execution, retval, monitored=False)
    status, error = _ending(state, retval)
    execution.finish(status, type(error).__name__ if error is not None else None)


def _ending(state: str | None, retval: Any) -> tuple[Status, BaseException | None]:
    """Status and cause of an ending, from what ``task_postrun`` is told."""
    if state is None:
        # The exception that cuts a task short is still in flight while Celery sends the signal.
        error = sys.exc_info()[1]
        return ("failure" if isinstance(error, Exception) else "lost"), error
    error = retval if isinstance(retval, BaseException) else None
    if state == "RETRY":
        cause = getattr(error, "exc", None)
        return "retry", cause if isinstance(cause, BaseException) else error
    if error is not None and type(error).__name__ == "SoftTimeLimitExceeded":
        return "timeout", error
    return STATUS_OF_STATE.get(state, "failure"), error if state != "SUCCESS" else None


def _is_own(name: str) -> bool:
    return name.startswith(OWN_PREFIXES) and name not in RUNNING_OTHERS


def _text(value: Any) -> str | None:
    return None if value is None else clean_text(value)


def _wait(since_us: int | None, until_us: int | None) -> int | None:
    """Microseconds between two wall-clock times; None where a clock went backwards or a time is not known."""
    if not isinstance(since_us, int) or until_us is None or until_us < since_us:
        return None
    return until_us - since_us


_HANDLERS = (
    (signals.before_task_publish, on_publish),
    (signals.task_received, on_received),
    (signals.task_prerun, on_prerun),
    (signals.task_postrun, on_postrun),
)
