"""What only the worker's main process sees: messages that arrive, and executions that it ends or finds dead.

``worker_init``     gives the worker's name
``task_received``   gives the execution its id, which travels to the child, and notes when its message arrived
``task_revoked``    a task that never began has its row from here; one that was terminated has its status
``task_failure``    also sent here for a hard time limit and for a lost child, in which nothing can speak any more

In pools without children the same handlers are called in the one process there is.
"""

from __future__ import annotations

import weakref
from typing import Any

import msgspec

from aurea_celery._guard import guarded
from aurea_celery.capture import jobs
from aurea_celery.capture.registry import Destination, destination_of, door_of
from aurea_celery.capture.requests import RECEIVED_KEY, event_of, is_own, received_of
from aurea_celery.capture.runs import is_request
from aurea_celery.clock import new_event_id, now_us
from aurea_celery.events import Verdict

VERDICTS = {"TimeLimitExceeded": Verdict("timeout", "TimeLimitExceeded"), "WorkerLostError": Verdict("lost")}
"""By the name of the error with which Celery ends a task from outside."""

_requests: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


_worker_name: str | None = None


def job_in_flight(task_id: str) -> jobs.Job | None:
    """Return the job of a task in flight, or of a chord's body that waits for one; None outside of the main process."""
    request = _requests.get(task_id)
    if request is None:
        requests = list(_requests.values())
        request = next((request for request in requests if _is_followed_by(request, task_id)), None)
    return None if request is None else jobs.job_of(request.task, request._context)


def _is_followed_by(request: Any, task_id: str) -> bool:
    """Whether a task's message says that another task waits for it, if it is a chord's body or a part of that."""
    _, _, embedded = request._payload
    pending = [embedded.get("chord"), embedded.get("chain")] if embedded else []
    while pending:
        found = pending.pop()
        if isinstance(found, (list, tuple)):
            pending.extend(found)
        elif isinstance(found, dict):
            options = found.get("options") or {}
            if options.get("task_id") == task_id:
                return True
            pending += [options.get("chord"), options.get("chain")]
            if found.get("subtask_type"):  # it is a canvas: its parts are its arguments
                pending.extend((found.get("kwargs") or {}).values())
    return False


def _received_by(task: Any, task_id: str | None) -> Any:
    """Under which id and when the execution was received that Celery speaks of."""
    # Where Celery says which request it means, that is the one: a redelivered task has several with the same id.
    received = received_of(task.request)
    request = _requests.get(task_id) if task_id else None
    return received or (request and request.request_dict.get(RECEIVED_KEY))


@guarded
def note_worker_name(sender: Any = None, **_: Any) -> None:
    """Called once, before the pool exists."""
    global _worker_name  # noqa: PLW0603 - a process has one worker
    name = getattr(sender, "hostname", None)
    _worker_name = name if isinstance(name, str) else None


@guarded
def on_received(request: Any = None, **_: Any) -> None:
    """Called for each message; the dictionary travels to the child."""
    if door_of(getattr(request, "app", None)) is not None and isinstance(request.request_dict, dict):
        request.request_dict[RECEIVED_KEY] = (new_event_id(), now_us())
        _requests[request.id] = request


@guarded
def on_revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    """Called when a task is thrown away before it began, or was terminated."""
    destination = destination_of(getattr(sender, "app", None))
    if destination is None or not is_request(request) or is_own(sender.name):
        return
    received = received_of(request)
    if not terminated:
        _record_unbegun(destination, sender, request, "Expired" if expired else "TaskRevokedError")
    elif received is not None:
        destination.sink.settle(received[0], Verdict("revoked", "Terminated"))


def _record_unbegun(destination: Destination, task: Any, request: Any, error_type: str) -> None:
    """Record a task that will never begin, as an execution without any latency."""
    sink, selection = destination
    if not selection.includes(task.name):
        sink.leave_out("excluded")
        return
    task.request_stack.push(request)  # as Celery does for its own signals: a function that makes tags may look at it
    try:
        job = jobs.job_of(task, request)
        event = event_of(task, request, job.job_id, selection, job.tags)
    finally:
        task.request_stack.pop()
    if selection.samples_out(event.event_id):
        sink.leave_out("sampled_out")
    else:
        worker = event.worker or _worker_name
        sink.finish(msgspec.structs.replace(event, status="revoked", error_type=error_type, worker=worker))


@guarded
def on_failure(sender: Any = None, task_id: str | None = None, exception: Any = None, **_: Any) -> None:
    """Called for every failure; what the task itself raised has its row from where it ran."""
    verdict = VERDICTS.get(type(exception).__name__)
    if verdict is None:
        return
    destination = destination_of(getattr(sender, "app", None))
    received = None if destination is None else _received_by(sender, task_id)
    if destination is not None and received is not None:
        destination.sink.settle(received[0], verdict)
