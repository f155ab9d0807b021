"""The executions of Celery's tasks that run here, found by the request of their task.

A request belongs to the user, who may copy, pickle, compare and print it, so nothing of ours is put on it. A task id
does not identify an execution: a task that was delivered again may run twice at the same time.
"""

from __future__ import annotations

import weakref
from typing import Any

from celery.app.task import Context

from aurea_celery.capture.context import Block, Execution
from aurea_celery.errors import BudgetExceeded

Base = weakref.ref[Any]


class Run(Base):
    """A task's execution, with a weak reference to its request: if its end never comes, it goes with the request.

    ``around`` and ``around_block`` were current before it began; ``refusal`` is why it may not run, if it may not.
    """

    __slots__ = ("around", "around_block", "execution", "key", "refusal")

    key: int
    execution: Execution
    around: Execution | None
    around_block: Block
    refusal: BudgetExceeded | None


_runs: dict[int, Run] = {}
"""By the identity of the request: a class of requests that compares itself has no hash."""


def is_request(request: Any) -> bool:
    """Return whether a request is Celery's own, and not what a unit test puts in its place."""
    return issubclass(type(request), Context)


def begin(
    request: Any,
    execution: Execution,
    *,
    around: Execution | None,
    around_block: Block,
    refusal: BudgetExceeded | None,
) -> None:
    """Remember an execution until its end."""
    run = Run(request, _forget)
    run.key, run.execution, run.around, run.around_block, run.refusal = (
        id(request),
        execution,
        around,
        around_block,
        refusal,
    )
    _runs[run.key] = run


def refusal_of(request: Any) -> BudgetExceeded | None:
    """Return why the task of a request may not run; None if it may."""
    run = _runs.get(id(request))
    return None if run is None else run.refusal


def end(request: Any) -> Run | None:
    """Return the execution of a request, once; None if there is none."""
    return _runs.pop(id(request), None)


def _forget(run: Run) -> None:
    """Called by the garbage collector when a request goes away."""
    if _runs.get(run.key) is run:
        del _runs[run.key]
