"""Celery's signals where tasks are published and run: one module-level handler each, routed by the task's app.

``before_task_publish``   in whoever publishes: hands the job and tags on
``task_prerun``           where the task runs: the execution begins, unless a budget is used up
``task_postrun``          where the task runs: the execution ends, after every other handler of this signal

What only the worker's main process sees is in :mod:`aurea_celery.capture.main_process`.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import signals

from aurea_celery._guard import guarded
from aurea_celery.capture import batches, budgets, jobs, main_process, on_commit, runs
from aurea_celery.capture.context import Execution, current_block, current_execution, set_current
from aurea_celery.capture.error_types import error_type_of
from aurea_celery.capture.registry import destination_of, is_in_use
from aurea_celery.capture.requests import PUBLISHED_HEADER, RECEIVED_KEY, event_of, is_own
from aurea_celery.capture.results import count_result
from aurea_celery.clock import now_us
from aurea_celery.events import Status

STATUS_OF_STATE: dict[str, Status] = {"FAILURE": "failure", "REJECTED": "rejected", "REVOKED": "revoked"}


def connect() -> None:
    """Connect the handlers; safe to repeat."""
    for signal, handler in _HANDLERS:
        signal.connect(handler, weak=False, dispatch_uid=f"aurea_celery.{handler.__name__}")
    on_commit.connect()


def disconnect() -> None:
    """Disconnect the handlers."""
    for signal, handler in _HANDLERS:
        signal.disconnect(dispatch_uid=f"aurea_celery.{handler.__name__}")
    on_commit.disconnect()


@guarded
def on_publish(
    headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None, body: Any = None, **_: Any
) -> None:
    """Called in whoever publishes a task, before it goes out; changes headers only."""
    if headers is None or not is_in_use():
        return
    options = {} if properties is None else properties
    # Celery copies unknown headers on a retry: what belongs to one message must not reach the next.
    headers.pop(RECEIVED_KEY, None)
    headers[PUBLISHED_HEADER] = now_us()
    jobs.hand_on(headers, options, body, main_process.job_in_flight)


@guarded
def on_prerun(task: Any = None, args: Any = (), **_: Any) -> None:
    """Called where the task runs, just before its body; may not do network I/O."""
    destination = destination_of(getattr(task, "app", None))
    if destination is None or not runs.is_request(task.request) or is_own(task.name):
        return
    sink, selection = destination
    request = task.request
    if request.is_eager and not selection.captures_eager:
        return
    if not selection.includes(task.name):
        sink.leave_out("excluded")
        return
    described, job = batches.request_and_job(task, args)
    event = event_of(task, described, job.job_id, selection, job.tags)
    execution = Execution(destination, event, task=task, job_is_named=job.is_named, tags=job.tags)
    runs.begin(
        request,
        execution,
        around=current_execution(),
        around_block=current_block(),
        refusal=budgets.refusal_of(execution),
    )
    set_current(execution)
    _end_after_other_handlers()


@guarded
def on_postrun(task: Any = None, retval: Any = None, state: str | None = None, **_: Any) -> None:
    """Called where the task ran, after its body, however that ended; ``state`` is None if it was cut short."""
    run = runs.end(getattr(task, "request", None))
    if run is None:
        return
    execution = run.execution
    set_current(run.around, run.around_block)
    if state == "SUCCESS":
        count_result(execution, retval, monitored=False)
        execution.finish("success")
    elif state is None:
        # The exception that cuts a task short is still in flight while Celery sends the signal.
        _cut_short(execution, sys.exc_info()[1])
    else:
        status, error = _ending(state, retval)
        execution.finish(status, error_type_of(error) or batches.error_type())


def _end_after_other_handlers() -> None:
    """Make :func:`on_postrun` the last receiver of its signal: what the others record belongs to the execution.

    Celery calls receivers in the order in which they were connected, and the user's may be connected at any time.
    """
    signal: Any = signals.task_postrun  # its list has no type hints
    if signal.receivers[-1][1] is on_postrun:
        return
    with signal.lock:
        # Another thread may be sending the signal: the list is never without a receiver.
        signal.receivers[:] = sorted(signal.receivers, key=lambda entry: entry[1] is on_postrun)
        signal.sender_receivers_cache.clear()


def _cut_short(execution: Execution, error: BaseException | None) -> None:
    """End an execution whose body did not come to an end that Celery knows."""
    name = error_type_of(error)
    if isinstance(error, Exception):
        execution.finish("failure", name)
    elif name == "Timeout":  # of gevent and eventlet, which raise a hard time limit inside the task
        execution.finish("timeout", "TimeLimitExceeded")
    else:
        execution.abort(name)


def _ending(state: str, retval: Any) -> tuple[Status, BaseException | None]:
    """Status and cause of an ending, from what ``task_postrun`` is told."""
    error = retval if isinstance(retval, BaseException) else None
    if state == "IGNORED":
        return "ignored", None
    if state == "RETRY":
        return "retry", error
    if type(error).__name__ == "SoftTimeLimitExceeded":
        return "timeout", error
    return STATUS_OF_STATE.get(state, "failure"), error


_HANDLERS = (
    (signals.before_task_publish, on_publish),
    (signals.task_prerun, on_prerun),
    (signals.task_postrun, on_postrun),
    (signals.worker_init, main_process.note_worker_name),
    (signals.task_received, main_process.on_received),
    (signals.task_revoked, main_process.on_revoked),
    (signals.task_failure, main_process.on_failure),
)
