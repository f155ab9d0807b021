"""A user's app for tests of budgets: every task costs ten cents, and callbacks say what came of it."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery, Task

from aurea_celery import Aurea, monitor_task, record_usage
from tests.support.user_app import write_truth

app = Celery("budget_app", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
Aurea(app)


class Noting(Task):  # type: ignore[type-arg]  # generic in its type hints, but before Celery 5.7 not when it runs
    """A user's base class, with methods that Celery calls around the body."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by Celery just before the body."""
        write_truth(self, "starts", 0)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by Celery after a failure."""
        write_truth(self, type(exc).__name__, 0)


@app.task(bind=True, base=Noting)
def pay(self: Task[Any, Any], pause_seconds: float = 0.0) -> None:
    """Cost ten cents."""
    write_truth(self, "begun", 0)
    time.sleep(pause_seconds)
    record_usage(model="own", total_tokens=1, cost_usd="0.1")


@app.task(bind=True, acks_late=True, autoretry_for=(Exception,), retry_backoff=1, max_retries=5)
def pay_surely(self: Task[Any, Any]) -> None:
    """Cost ten cents, again and again if that fails."""
    write_truth(self, "begun", 0)
    record_usage(model="own", total_tokens=1, cost_usd="0.1")


@app.task(bind=True)
def pay_inside(self: Task[Any, Any], job_id: str) -> str:
    """Cost ten cents in a function of another job; what it raises is the result."""
    try:
        charge(job_id)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "paid"


def charge(job_id: str) -> None:
    """Cost ten cents."""

    @monitor_task(job_id=job_id, task_name="charge", model_used="own", estimate_cost_fn=lambda _model, _tokens: 0.1)
    def call() -> tuple[None, int]:
        return None, 1

    call()


@app.task(bind=True)
def notice(self: Task[Any, Any], *_: Any) -> None:
    """A callback."""
    write_truth(self, "notice", 0)


@app.task
def use_unknown() -> None:
    """Use a model that nobody knows the price of."""
    record_usage(model="nobody-knows", total_tokens=7)
