"""The job and the tags of a task: how they are given, how they travel with a message, how they are found again.

A job that a decorator on the task's body names goes before all others. One that somebody named (the ``aurea_job``
option of ``apply_async``, a ``job(...)`` block) goes before the task's own ``aurea_job``; a canvas that nobody named is
one job by itself. So a message carries one of two headers. Tags add up on their way, and the nearer wins; a third
header carries them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery import current_task
from celery._state import get_current_worker_task
from celery.app.task import Context

from aurea_celery.capture.context import NO_JOB, current_block, current_execution
from aurea_celery.capture.selection import header_of
from aurea_celery.capture.tags import TAGS_HEADER, TAGS_OPTION, limited, merged_tags, read_tags
from aurea_celery.events import clean_text

JOB_OPTION = JOB_HEADER = "aurea_job"
CANVAS_HEADER = "aurea_canvas_job"

_jobs_of_bodies: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class Job(NamedTuple):
    """A job, whether somebody named it or it is a canvas, and the tags that came with it."""

    job_id: str
    is_named: bool
    tags: Mapping[str, str]


class _Inherited(NamedTuple):
    """What comes from around: a job that somebody named, or a canvas, or neither; and tags."""

    named: str | None = None
    canvas: str | None = None
    tags: Mapping[str, str] = {}


def job_of(task: Any, request: Any) -> Job:
    """The job of a task that runs, or would have; one that runs eagerly has no message that could carry it."""
    around = _surrounding() if request.is_eager else _Inherited()
    tags = merged_tags(read_tags(header_of(request, TAGS_HEADER)), around.tags)
    named = _job_of_body(task) or header_of(request, JOB_HEADER) or around.named or getattr(task, JOB_OPTION, None)
    if named:
        return Job(clean_text(named), is_named=True, tags=tags)
    canvas = header_of(request, CANVAS_HEADER) or around.canvas or request.group or request.root_id or request.id
    return Job(clean_text(canvas or NO_JOB), is_named=False, tags=tags)


InFlight = Callable[[str], Job | None]
"""Gives the job of a task by its id, in the process that received its message and waits for its end."""


def name_job_of_body(body: Any, job_id: str) -> None:
    """Let a function name the job of the tasks whose body it is, also where they do not run."""
    _jobs_of_bodies[body] = job_id


def _job_of_body(task: Any) -> str | None:
    body = getattr(task, "run", None) if _jobs_of_bodies else None
    while body is not None:
        body = getattr(body, "__func__", body)
        if body in _jobs_of_bodies:
            return _jobs_of_bodies[body]
        body = getattr(body, "__wrapped__", None)
    return None


def hand_on(headers: dict[str, Any], options: dict[str, Any], body: Any, in_flight: InFlight) -> None:
    """Write the job and the tags of a message that is about to be published into its headers.

    Args:
        headers: The message's headers; those of an earlier message may be copied in them.
        options: The options that are left for the transport; ours are taken out.
        body: The message's body.
        in_flight: Asked for the task that this message follows, where no execution tells.
    """
    given, given_tags = options.pop(JOB_OPTION, None), options.pop(TAGS_OPTION, None)
    block, around = current_block(), _around(headers, body, in_flight)
    named = given or block.job_id or headers.get(JOB_HEADER) or around.named
    tags = merged_tags(read_tags(given_tags), block.tags, read_tags(headers.get(TAGS_HEADER)), around.tags)
    _write(headers, JOB_HEADER, named and clean_text(named))
    _write(headers, CANVAS_HEADER, None if named else around.canvas and clean_text(around.canvas))
    _write(headers, TAGS_HEADER, limited(tags.items()))


def _write(headers: dict[str, Any], name: str, value: Any) -> None:
    if value:
        headers[name] = value
    else:
        headers.pop(name, None)


def _surrounding() -> _Inherited:
    """The job and the tags of the block and the execution around."""
    block, around = current_block(), _of_execution()
    named = block.job_id or around.named
    return _Inherited(named, None if named else around.canvas, merged_tags(block.tags, around.tags))


def _of_execution() -> _Inherited:
    execution = current_execution()
    if execution is None:
        return _Inherited()
    job_id, tags = execution.event.job_id, execution.tags
    if job_id == NO_JOB:
        return _Inherited(tags=tags)
    return _Inherited(job_id, None, tags) if execution.job_is_named else _Inherited(None, job_id, tags)


def _around(headers: dict[str, Any], body: Any, in_flight: InFlight) -> _Inherited:
    """What a message inherits from the execution or the message that it follows, else from the canvas it begins."""
    around = _of_execution()
    if around.named or around.canvas:
        return around
    # A task of Celery's own has no execution, nor has one that is left out, nor an error callback of a lost child.
    job = _job_of_current_task()
    if job is None and (task_id := headers.get("parent_id") or _failed_id()):
        job = in_flight(task_id)
    if job is None:
        return around._replace(canvas=_canvas_of(str(headers.get("task")), body))
    return _Inherited(job.job_id if job.is_named else None, None if job.is_named else job.job_id, job.tags)


def _job_of_current_task() -> Job | None:
    task: Any = get_current_worker_task()  # below it there may be others that are only called, as error callbacks are
    return job_of(task, task.request) if task is not None and task.request.id else None


def _failed_id() -> str | None:
    """Return the id of what failed, where an error callback runs as a call: Celery gives it the request."""
    arguments = getattr(getattr(current_task, "request", None), "args", None)
    return arguments[0].id if arguments and isinstance(arguments[0], Context) else None


def _canvas_of(name: str, body: Any) -> str | None:
    """The canvas of a message that is published outside of any job and execution, if it is part of something larger."""
    if not isinstance(body, tuple):
        return None
    args, _, embedded = body
    if name == "celery.chord_unlock":
        group_id: str | None = args[0]
        return group_id
    # Of a chain in a group only the last step knows the group; steps are kept in reverse.
    steps = embedded.get("chain")
    return steps[0].get("options", {}).get("group_id") if steps else None
