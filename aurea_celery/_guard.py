"""The one guard that keeps us harmless: no fault of ours reaches the host.

Every function of ours that the host calls is wrapped in :func:`guarded`. A fault inside is counted, logged
at most once a minute per place, and otherwise disappears. Two kinds of exception pass through: those that are
not ``Exception`` (``SystemExit``, ``KeyboardInterrupt``), and Celery's own interruptions (soft time limit,
termination), which are meant for the task that happens to be running our code at that moment.

The guard never wraps the body of the user's function. With ``AUREA_RAISE_ERRORS=1`` faults are raised, which is
how this package's own tests run.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("aurea_celery")

LOG_INTERVAL_SECONDS = 60.0
INTERRUPTIONS = ("SoftTimeLimitExceeded", "Terminated")

fault_counts: Counter[str] = Counter()
"""How often each guarded place failed in this process, by qualified name."""

_last_logged: dict[str, float] = {}


def is_interruption(error: BaseException) -> bool:
    """Whether an exception is meant for the running task and not a fault of ours.

    Compared by name, because the classes live in billiard, which a plain process need not load.
    """
    if not isinstance(error, Exception):
        return True
    return type(error).__name__ in INTERRUPTIONS and type(error).__module__.startswith("billiard")


def report_fault(place: str, error: BaseException) -> None:
    """Count a fault of ours and log its class once a minute, at DEBUG with the places where it happened.

    The message may hold the user's data, or a part of a URL with its password, so it stays out.
    """
    fault_counts[place] += 1
    now = time.monotonic()
    if now - _last_logged.get(place, -LOG_INTERVAL_SECONDS) >= LOG_INTERVAL_SECONDS:
        _last_logged[place] = now
        logger.error(
            "aurea-celery: internal fault in %s (%s, %d so far); the task was not affected, "
            "its metrics may be incomplete%s",
            place,
            type(error).__name__,
            fault_counts[place],
            _places(error) if logger.isEnabledFor(logging.DEBUG) else "",
        )


def _places(error: BaseException) -> str:
    return "\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()


def log_once_a_minute(key: str, level: int, message: str, *args: object) -> None:
    """Log a message, and stay silent about the same ``key`` for the next minute."""
    now = time.monotonic()
    if now - _last_logged.get(key, -LOG_INTERVAL_SECONDS) >= LOG_INTERVAL_SECONDS:
        _last_logged[key] = now
        logger.log(level, message, *args)


def log_once(key: str, level: int, message: str, *args: object) -> None:
    """Log a message, and stay silent about the same ``key`` as long as the process lives."""
    if key not in _last_logged:
        _last_logged[key] = math.inf
        logger.log(level, message, *args)


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Wrap a function the host calls: a fault inside is reported and ``None`` comes back.

    >>> @guarded
    ... def half(number: int) -> int:
    ...     return number // 2
    >>> half(4)
    2
    """
    place = f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if is_interruption(error) or os.environ.get("AUREA_RAISE_ERRORS") == "1":
                raise
            report_fault(place, error)
            return None

    return call
