"""Budgets where tasks run: may an execution begin?

``task_prerun`` looks at the host's copy of their states, which takes a microsecond. It cannot keep a task from running:
Celery swallows what its receivers raise. So it leaves the refusal with the run, and ``before_start``, the method of a
task that Celery calls just before the body, raises it: then the task fails as if its body had, with everything that
Celery does for a failure.
"""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections import Counter
from typing import Any

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.budget import BudgetState
from aurea_celery.capture import runs
from aurea_celery.capture.context import Execution
from aurea_celery.capture.requests import is_own
from aurea_celery.errors import BudgetExceeded

over_budget_counts: Counter[str] = Counter()
"""How many executions of this process met a budget that is used up, by what became of them: ``warn`` or ``block``."""

_prepared: weakref.WeakSet[type] = weakref.WeakSet()


@guarded
def refusal_of(execution: Execution) -> BudgetExceeded | None:
    """Why an execution may not run; None if it may, which is all that a fault of ours can lead to."""
    event = execution.event
    for state in execution.destination.sink.budgets_of(event.job_id):
        if not state.concerns(event.task_name):
            continue
        if state.unpriced_tokens:
            _warn_of_unpriced(state)
        if state.is_used_up:
            over_budget_counts[state.on_exceed] += 1
            if state.on_exceed == "block":
                execution.model = None  # none is called
                return BudgetExceeded(f"{state.describe()}, so that it does not run; {state.advice()}")
            _warn_of_exceeded(state)
    return None


def prepare_tasks(app: Any) -> None:
    """Make an app's tasks look for a refusal before they start. For a worker, before Celery builds their tracers."""
    for task in app.tasks.values():
        if not is_own(task.name):
            _prepare(type(task))


@guarded
def _prepare(task_class: Any) -> None:
    if task_class in _prepared:
        return
    _prepared.add(task_class)
    its_own = inspect.getattr_static(task_class, "before_start")

    @functools.wraps(its_own)
    def before_start(self: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        """Called by Celery just before the body; refuses to run, or does what the task's own method does."""
        refusal = runs.refusal_of(self.request)
        if refusal is not None:
            raise refusal
        return its_own.__get__(self, type(self))(task_id, args, kwargs)

    task_class.before_start = before_start


def _warn_of_exceeded(state: BudgetState) -> None:
    log_once_a_minute(
        f"budget {state.job_id} {state.task} {state.period}",
        logging.WARNING,
        "aurea-celery: a budget is used up: %s; %s (%d executions over a budget in this process so far)",
        state.describe(),
        state.advice(),
        over_budget_counts["warn"],
    )


def _warn_of_unpriced(state: BudgetState) -> None:
    log_once_a_minute(
        f"unpriced {state.job_id} {state.task} {state.period}",
        logging.WARNING,
        "aurea-celery: a budget cannot judge: %s, and %d tokens have no price; set one: aurea prices set MODEL",
        state.describe(),
        state.unpriced_tokens,
    )
