"""A user's app whose tasks end in every way there is; each spends seven tokens first."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import time
from typing import Any, NoReturn

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from aurea_celery import Aurea, monitor_task, record_usage

TOKENS = 7
LONG_SECONDS = 30.0

BROKER_URL = os.environ["BROKER_URL"]
app = Celery("endings", broker=BROKER_URL, backend=os.environ.get("RESULT_BACKEND", BROKER_URL))
app.conf.update(
    worker_hijack_root_logger=False,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN_SECONDS", "0")),
    broker_connection_retry_on_startup=True,
    result_backend_transport_options={"global_keyprefix": "results."},
    result_chord_retry_interval=0.2,
    beat_schedule={
        "often": {"task": f"{__name__}.succeed", "schedule": 0.3, "options": {"aurea_job": "beat"}},
    },
    broker_transport_options={
        "visibility_timeout": int(os.environ.get("VISIBILITY_SECONDS", "60")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)
Aurea(app)


def spend() -> None:
    """Spend some tokens."""
    record_usage(model="gpt-4", total_tokens=TOKENS)


def is_redelivered(task: Task[Any, Any]) -> bool:
    """Whether the message was handed out before."""
    return bool((task.request.delivery_info or {}).get("redelivered"))


class Refused(Exception):
    """A failure of the user's."""


@app.task
def succeed(*_: object) -> str:
    """Come to an end."""
    spend()
    return "done"


@app.task
def notice(_task_id: str) -> None:
    """Hear of another task's failure."""
    spend()


@app.task
def alert(_request: object, _error: object, _traceback: object) -> None:
    """Send a notice; an error callback of the old kind, which Celery runs where it notices the failure."""
    notice.delay("some task")


class Counting(Task):  # type: ignore[type-arg]  # generic in its type hints, but before Celery 5.7 not when it runs
    """A task written as a class."""

    name = "tests.support.endings_app.counting"

    def run(self) -> str:
        """Spend."""
        spend()
        return "done"


counting = app.register_task(Counting())


@app.task
def fail() -> NoReturn:
    """Raise."""
    spend()
    raise Refused("nothing of this is stored")


@app.task(autoretry_for=(Refused,), retry_kwargs={"max_retries": 1, "countdown": 0})
def autoretry() -> NoReturn:
    """Raise what is retried, until it is not any more."""
    spend()
    raise Refused


@app.task(bind=True, max_retries=2)
def retry(self: Task[Any, Any]) -> str:
    """Ask for another try, twice."""
    spend()
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "done"


@app.task
def ignore() -> NoReturn:
    """Want no result."""
    spend()
    raise Ignore


@app.task(bind=True, acks_late=True)
def reject(self: Task[Any, Any], requeue: bool) -> str:
    """Give the message back, the first time."""
    spend()
    if is_redelivered(self):
        return "done"
    raise Reject("not now", requeue=requeue)


@app.task(bind=True)
def replace(self: Task[Any, Any]) -> NoReturn:
    """Let another task do the work, under the same id."""
    spend()
    raise self.replace(succeed.s())


@app.task
def unserialisable() -> object:
    """Return what no result backend takes."""
    spend()
    return object()


@app.task(soft_time_limit=1, time_limit=10)
def soft_limit(catch: bool) -> str:
    """Sleep longer than allowed."""
    spend()
    try:
        time.sleep(3)
    except SoftTimeLimitExceeded:
        if not catch:
            raise
    return "done"


@app.task(time_limit=1)
def hard_limit() -> str:
    """Sleep longer than is tolerated."""
    spend()
    time.sleep(3)
    return "done"


@app.task(time_limit=1)
def hard_limit_in_c() -> str:
    """Be where no signal's handler runs when the time is over."""
    spend()
    hashlib.pbkdf2_hmac("sha512", b"x", b"y", 6_000_000)
    return "done"


@app.task
def run_long() -> str:
    """Wait to be ended by somebody."""
    spend()
    time.sleep(LONG_SECONDS)
    return "done"


@app.task(bind=True, acks_late=True)
def run_long_late(self: Task[Any, Any]) -> str:
    """Wait to be ended by somebody, unacknowledged; the next time do not wait."""
    spend()
    if not is_redelivered(self):
        time.sleep(LONG_SECONDS)
    return "done"


@app.task
def run_a_while() -> str:
    """Go on for two seconds."""
    spend()
    time.sleep(2)
    return "done"


def let_the_begin_be_known() -> None:
    """Live until the main process has heard of this execution: else Celery 5.5 may hand the task to another child."""
    time.sleep(0.3)


@app.task
def killed() -> None:
    """Be killed, as the kernel does it when memory is short."""
    spend()
    let_the_begin_be_known()
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def killed_once(self: Task[Any, Any]) -> str:
    """Be killed in the first delivery; the message comes again."""
    spend()
    if not is_redelivered(self):
        let_the_begin_be_known()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@app.task
def leave() -> None:
    """Leave the process without a word."""
    spend()
    let_the_begin_be_known()
    os._exit(3)


@app.task(aurea_job="its own")
def leave_own_job() -> None:
    """Leave in the same way, as a task that names its job."""
    leave()


@app.task
@monitor_task("decorated")
def leave_decorated() -> None:
    """Leave in the same way, as a task whose decorator names its job."""
    leave()


@app.task
def crash() -> None:
    """Read what is not there."""
    spend()
    let_the_begin_be_known()
    ctypes.string_at(0)


@app.task
def sys_exit() -> None:
    """End the program."""
    spend()
    sys.exit(3)


@app.task
def memory_error() -> NoReturn:
    """Find no more memory."""
    spend()
    raise MemoryError


@app.task
def call_directly() -> str:
    """Call another task as a function: part of this execution."""
    spend()
    return str(succeed())


@app.task
def call_eagerly() -> str:
    """Apply another task here and now: part of this execution."""
    spend()
    succeed.apply()
    return "done"
