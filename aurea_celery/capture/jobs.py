"""The job of a task: how it is named, how it travels with a message, how it is found again.

A job that somebody named (the ``aurea_job`` option of ``apply_async``, a ``job(...)`` block) goes before the task's own
``aurea_job``; a canvas that nobody named is one job by itself. So a message carries one of two headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from celery import current_task

from aurea_celery.capture.context import NO_JOB, block_job, current_execution
from aurea_celery.capture.selection import header_of
from aurea_celery.events import clean_text

JOB_OPTION = JOB_HEADER = "aurea_job"
CANVAS_HEADER = "aurea_canvas_job"


class Job(NamedTuple):
    """A job, and whether somebody named it or it is a canvas."""

    job_id: str
    is_named: bool


class _Inherited(NamedTuple):
    """A job that comes from around: named, or a canvas, or neither."""

    named: str | None
    canvas: str | None


def job_of(task: Any, request: Any) -> Job:
    """The job of a task that runs, or would have; one that runs eagerly has no message that could carry it."""
    named, canvas = _surrounding() if request.is_eager else (None, None)
    named = header_of(request, JOB_HEADER) or named or getattr(task, JOB_OPTION, None)
    if named:
        return Job(clean_text(named), is_named=True)
    canvas = header_of(request, CANVAS_HEADER) or canvas or request.group or request.root_id or request.id or NO_JOB
    return Job(clean_text(canvas), is_named=False)


def hand_on(headers: dict[str, Any], options: dict[str, Any], body: Any, parent: Mapping[str, Any]) -> None:
    """Write the job of a message that is about to be published into its headers.

    Args:
        headers: The message's headers; those of an earlier message may be copied in them.
        options: The options that are left for the transport; ours is taken out.
        body: The message's body.
        parent: What the message of the task that this one follows said, where only this process knows.
    """
    given = options.pop(JOB_OPTION, None) or block_job() or headers.get(JOB_HEADER)
    named, canvas = _Inherited(clean_text(given), None) if given else _continued(headers, body, parent)
    for header, job_id in ((JOB_HEADER, named), (CANVAS_HEADER, canvas)):
        if job_id:
            headers[header] = job_id
        else:
            headers.pop(header, None)


def _surrounding() -> _Inherited:
    """The job of the block or execution around."""
    execution = current_execution()
    if block_job() or execution is None or execution.event.job_id == NO_JOB:
        return _Inherited(block_job(), None)
    job_id = execution.event.job_id
    return _Inherited(job_id, None) if execution.job_is_named else _Inherited(None, job_id)


def _continued(headers: dict[str, Any], body: Any, parent: Mapping[str, Any]) -> _Inherited:
    """The job that a message continues."""
    surrounding = _surrounding()
    if any(surrounding):
        return surrounding
    # A task of Celery's own has no execution, nor has an error callback of a child that was lost.
    around = getattr(current_task, "request", None)
    named = getattr(around, JOB_HEADER, None) or parent.get(JOB_HEADER)
    canvas = getattr(around, CANVAS_HEADER, None) or parent.get(CANVAS_HEADER) or parent.get("group")
    return _Inherited(named, canvas or _canvas_of(str(headers.get("task")), body))


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
