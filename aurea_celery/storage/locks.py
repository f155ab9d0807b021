"""Changing tables beside writers and readers: nobody waits long behind a change that waits itself.

A lock that conflicts with reading makes everybody who comes later wait as long as it is waited for. So it is waited
for briefly, given up with all that was done, and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from aurea_celery.errors import DatabaseUnavailable

LOCK_TIMEOUT_MS = 500  # less than PostgreSQL's deadlock_timeout: in a circle of waits it is we who give up
ATTEMPTS, PAUSE_SECONDS = 20, 1.0
LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED = "55P03", "40P01"

Result = TypeVar("Result")


def is_lock_error(error: DBAPIError) -> bool:
    """Whether a lock was not to be had."""
    return getattr(error.orig, "pgcode", None) in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)


def patiently(engine: sa.Engine, change: Callable[[sa.Connection], Result], attempts: int = ATTEMPTS) -> Result:
    """Make a change in one transaction, again and again until its locks are to be had.

    Raises:
        DatabaseUnavailable: If they are not, for about half a minute, or at so many attempts.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            with engine.begin() as connection:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                return change(connection)
        except DBAPIError as error:
            if not is_lock_error(error):
                raise
    raise DatabaseUnavailable("somebody reads or locks the tables all the time; try again when that has ended")
