"""A user's app for tests with real workers: every task writes down what it did before it returns."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task

from aurea_celery import Aurea, monitor_task, record_usage

app = Celery("user_app", broker=os.environ["BROKER_URL"])
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_acks_late=os.environ.get("ACKS_LATE") == "1",
    broker_transport_options={
        "visibility_timeout": int(os.environ.get("VISIBILITY_SECONDS", "60")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)
if "ACCEPT_CONTENT" in os.environ:
    app.conf.accept_content = os.environ["ACCEPT_CONTENT"].split(",")
Aurea(app)

TRUTH = Path(os.environ["TRUTH"])


def write_truth(task: Task[Any, Any], stage: str, tokens: int) -> None:
    """Append one line about this execution; whole lines, also from several processes."""
    descriptor = os.open(TRUTH, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{task.request.id} {stage} {tokens}\n".encode())
    os.close(descriptor)


@app.task(bind=True)
def spend(self: Task[Any, Any], input_tokens: int, output_tokens: int, pause_seconds: float = 0.0) -> int:
    """Spend tokens on a model in the middle of some work."""
    tokens = input_tokens + output_tokens
    write_truth(self, "begun", tokens)
    time.sleep(pause_seconds)
    record_usage(model="gpt-4", input_tokens=input_tokens, output_tokens=output_tokens)
    write_truth(self, "spent", tokens)
    time.sleep(pause_seconds)
    return output_tokens


@app.task
@monitor_task(task_name="pair", model_used="gpt-4")
def pair(tokens: int) -> tuple[str, int]:
    """Return the document's pair."""
    return "text", tokens


@app.task
def fail(*_: str) -> None:
    """Spend, then fail."""
    record_usage(model="gpt-4", total_tokens=7)
    raise ValueError("nothing of this may be stored")


@app.task(bind=True, max_retries=2)
def flaky(self: Task[Any, Any]) -> str:
    """Spend in each attempt; the third one succeeds."""
    record_usage(model="gpt-4", total_tokens=10)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "done"


@app.task
def plain() -> int:
    """Spend nothing."""
    return 1


@app.task
def die(tokens: int) -> None:
    """Spend, then be killed."""
    record_usage(model="gpt-4", total_tokens=tokens)
    os.kill(os.getpid(), signal.SIGKILL)
