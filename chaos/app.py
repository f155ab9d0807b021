"""The user's app of a run: every task writes down what it does, see :mod:`chaos.truth`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from chaos.wrong_clock import WrongClock

WrongClock(Path(os.environ["CHAOS_CLOCK"])).install()  # before Celery and kombu take the clock by name

from celery import Celery, Task, signals  # noqa: E402

from aurea_celery import Aurea, record_usage  # noqa: E402
from chaos.disk import Disk  # noqa: E402
from chaos.truth import Ledger  # noqa: E402

VISIBILITY_SECONDS = int(os.environ["CHAOS_VISIBILITY_SECONDS"])

disk = Disk(Path(os.environ["CHAOS_DISK_FLAG"]))
ledger = Ledger(Path(os.environ["CHAOS_TRUTH"]))
app = Celery("chaos", broker=os.environ["CHAOS_BROKER_URL"])
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_ignore_result=True,
)
if app.conf.broker_url.startswith("redis"):
    app.conf.broker_transport_options = {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }


class Failed(Exception):
    """A failure of the user's."""


def prepare(task: Task[Any, Any]) -> dict[str, str]:
    """Called just before an execution is captured: its tags are its own id."""
    request: Any = task.request
    request.chaos_id = uuid4().hex
    full = disk.obey()
    job_id = request.args[0]
    place = (os.getpid(), os.getppid(), time.monotonic())
    ledger.append("prepared", request.chaos_id, request.id, job_id, request.retries, *place, full)
    return {"execution": request.chaos_id}


Aurea(app, tags=prepare)


def work(
    self: Task[Any, Any], _job_id: str, calls: list[tuple[str, int, int]], pause_seconds: float, ending: str, /
) -> None:
    """Spend tokens on models with pauses in between, then end as told."""
    request: Any = self.request
    chaos_id = request.chaos_id
    ledger.append("begun", chaos_id)
    time.sleep(pause_seconds)
    for model, input_tokens, output_tokens in calls:
        ledger.append("calling", chaos_id, model, input_tokens, output_tokens)
        record_usage(model=model, input_tokens=input_tokens, output_tokens=output_tokens)
        ledger.append("called", chaos_id)
        time.sleep(pause_seconds)
    if ending == "retry" and request.retries:
        ending = "success"
    ledger.append("ended", chaos_id, ending)
    if ending == "failure":
        raise Failed
    if ending == "retry":
        raise self.retry(countdown=0)


app.task(name="chaos.early", bind=True, max_retries=1)(work)
app.task(name="chaos.late", bind=True, max_retries=1, acks_late=True, reject_on_worker_lost=True)(work)


@signals.worker_ready.connect
def say_ready(**_: Any) -> None:
    """Called in the main process of a worker or writer once it consumes."""
    print("is ready.", flush=True)
