"""Every way a task can end, in every pool, and the rows that it leaves: the table that the tests check.

What Celery cannot know, nobody can: a process that dies takes the cause with it, so that being out of memory, a crash
and a kill are one and the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

APP = "tests.support.endings_app"
TOKENS = 7
POOLS = {
    "prefork": ["-P", "prefork", "-c", "3"],
    "threads": ["-P", "threads", "-c", "3"],
    "solo": ["-P", "solo"],
    "gevent": ["-P", "gevent", "-c", "3"],
    "eventlet": ["-P", "eventlet", "-c", "3"],
}
ALL = tuple(POOLS)
PREFORK = ("prefork",)
GEVENT = ("gevent",)
NO_LIMITS = ("threads", "solo", "eventlet")
IN_PROCESS = ("threads", "solo", "gevent", "eventlet")


class Row(NamedTuple):
    """What is written of one execution."""

    status: str
    error: str | None = None
    attempt: int = 0
    redelivered: bool = False
    tokens: int = 7
    task: str = ""


class Ending(NamedTuple):
    """One way to end, where it can be had, how it is brought about, and its rows in the order of their end."""

    name: str
    pools: tuple[str, ...]
    task: str
    rows: list[Row]
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})


DONE = Row("success")
ENDINGS = [
    # name                     pools       task               rows
    Ending("success",          ALL,        "succeed",         [DONE]),
    Ending("success, written as a class", ALL,       "counting",        [DONE]),
    Ending("failure",          ALL,        "fail",            [Row("failure", "Refused")]),
    Ending("autoretry_for",    ALL,        "autoretry",       [Row("retry", "Refused"), Row("failure", "Refused", attempt=1)]),
    Ending("self.retry",       ALL,        "retry",           [Row("retry", "Retry"), Row("retry", "Retry", attempt=1), Row("success", attempt=2)]),
    Ending("Ignore",           ALL,        "ignore",          [Row("ignored")]),
    Ending("Reject",           ALL,        "reject",          [Row("rejected", "Reject")], (False,)),
    Ending("Reject, requeued", ALL,        "reject",          [Row("rejected", "Reject"), Row("success", redelivered=True)], (True,)),
    Ending("self.replace",     ALL,        "replace",         [Row("ignored", task="replace"), Row("success", task="succeed")]),
    Ending("failure, not serialisable", ALL, "unserialisable",  [Row("failure", "EncodeError")]),
    Ending("called as a function", ALL,    "call_directly",   [Row("success", tokens=14)]),
    Ending("applied eagerly",  ALL,        "call_eagerly",    [Row("success", tokens=14)]),
    # Celery has soft limits in prefork alone, and hard ones in prefork and gevent: elsewhere the task is not disturbed.
    Ending("soft limit",       PREFORK,    "soft_limit",      [Row("timeout", "SoftTimeLimitExceeded")], (False,)),
    Ending("soft limit, caught", PREFORK,  "soft_limit",      [DONE], (True,)),
    Ending("soft limit",       IN_PROCESS, "soft_limit",      [DONE], (False,)),
    Ending("hard limit",       PREFORK,    "hard_limit",      [Row("timeout", "TimeLimitExceeded")]),
    Ending("hard limit in C",  PREFORK,    "hard_limit_in_c", [Row("timeout", "TimeLimitExceeded")]),
    Ending("hard limit",       GEVENT,     "hard_limit",      [Row("timeout", "TimeLimitExceeded")]),
    Ending("hard limit",       NO_LIMITS,  "hard_limit",      [DONE]),
    # A process that dies cannot say why. Celery calls each of these deaths WorkerLostError.
    Ending("SIGKILL, out of memory", PREFORK, "killed",       [Row("lost", "WorkerLostError")]),
    Ending("SIGKILL, message redelivered", PREFORK, "killed_once", [Row("lost", "WorkerLostError"), Row("success", redelivered=True)]),
    Ending("os._exit",         PREFORK,    "leave",           [Row("lost", "WorkerLostError")]),
    Ending("segfault",         PREFORK,    "crash",           [Row("lost", "WorkerLostError")]),
    Ending("sys.exit",         PREFORK,    "sys_exit",        [Row("lost", "SystemExit")]),
    # A task that never began is a row too, with no tokens.
    Ending("expired",          ALL,        "succeed",         [Row("revoked", "Expired", tokens=0)], options={"expires": -10}),
]  # fmt: skip
