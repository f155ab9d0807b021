"""The database's clock, which whatever deletes or condenses asks (``docs/decisions/0041-clocks.md``)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from aurea_celery.clock import from_us, now_us
from aurea_celery.errors import ClocksDiffer
from aurea_celery.storage.pulse import duration

MAX_DIFFERENCE_SECONDS = 300
"""With clocks that differ by more, one of them is wrong, and nobody knows which: nothing is deleted."""

CLOCKS_AGREE = (
    f"abs(extract(epoch FROM clock_timestamp() - CAST(:host_now AS timestamptz))) <= {MAX_DIFFERENCE_SECONDS}"
)
"""The same as a condition of SQL; ``host_now`` comes from :func:`host_now`."""

_TRANSACTION_BEGAN, _NOW = sa.text("SELECT now()"), sa.text("SELECT clock_timestamp()")


def database_now(connection: sa.Connection) -> datetime:
    """Return the time at which the transaction began, by the database's clock."""
    found: datetime = connection.execute(_TRANSACTION_BEGAN).scalar_one()
    return found


def host_now() -> datetime:
    """Return the time by this host's clock, to be compared with the database's."""
    return from_us(now_us())


def check_clocks(connection: sa.Connection) -> None:
    """Make sure that the clocks of this host and of the database agree, before something is deleted.

    Raises:
        ClocksDiffer: If they differ by more than :data:`MAX_DIFFERENCE_SECONDS`.
    """
    theirs: datetime = connection.execute(_NOW).scalar_one()
    ours = host_now()
    seconds = abs((ours - theirs).total_seconds())
    if seconds > MAX_DIFFERENCE_SECONDS:
        raise ClocksDiffer(
            f"the clocks of this host ({ours:%Y-%m-%d %H:%M:%S} UTC) and of the database"
            f" ({theirs.astimezone(ours.tzinfo):%Y-%m-%d %H:%M:%S} UTC) differ by {duration(seconds)}, so that nothing"
            " is deleted; correct the one that is wrong"
        )


def clocks_agree(connection: sa.Connection) -> bool:
    """Return whether something may be deleted."""
    try:
        check_clocks(connection)
    except ClocksDiffer:
        return False
    return True
