"""The tasks of an app in this process."""

from __future__ import annotations

from typing import Any, NamedTuple

from celery import Celery, Task

from aurea_celery import job, monitor_task, record_usage


class Tasks(NamedTuple):
    """Tasks by what they do."""

    spend: Any
    collect: Any
    again: Any
    fail: Any
    nested: Any
    replaced: Any
    elsewhere: Any
    monitored: Any
    reporting: Any
    hear: Any
    adding: Any


def add_tasks(app: Celery) -> Tasks:  # noqa: C901 - a function a task
    """Make an app's tasks; ``spend`` and ``collect`` ignore what a canvas hands on to them."""

    @app.task(name="spend", shared=False)
    def spend(*_: Any, tokens: int = 1) -> None:
        record_usage(model="gpt-4", total_tokens=tokens)

    @app.task(name="collect", shared=False)
    def collect(*_: Any) -> None:
        """Spend nothing."""

    @app.task(name="again", shared=False, bind=True, max_retries=2)
    def again(self: Task[Any, Any]) -> None:
        record_usage(model="gpt-4", total_tokens=3)
        if self.request.retries < 2:
            raise self.retry(countdown=0)

    @app.task(name="fail", shared=False)
    def fail() -> None:
        raise ValueError("nothing of this may be stored")

    @app.task(name="nested", shared=False)
    def nested() -> None:
        spend.delay()

    @app.task(name="replaced", shared=False, bind=True)
    def replaced(self: Task[Any, Any]) -> Any:
        raise self.replace(spend.s())

    @app.task(name="elsewhere", shared=False)
    def elsewhere() -> None:
        with job("another bill"):
            spend.delay()

    @app.task(name="monitored", shared=False)
    @monitor_task(task_name="by another name", model_used="gpt-4")
    def monitored() -> tuple[str, int]:
        return "text", 50

    @app.task(name="reporting", shared=False, aurea_job="reports")
    def reporting() -> None:
        spend.delay()

    @app.task(name="hear", shared=False)
    def hear(_task_id: str) -> None:
        """Be told of a failure."""

    @app.task(name="adding", shared=False, bind=True)
    def adding(self: Task[Any, Any]) -> None:
        self.add_to_chord(spend.s())

    return Tasks(spend, collect, again, fail, nested, replaced, elsewhere, monitored, reporting, hear, adding)
