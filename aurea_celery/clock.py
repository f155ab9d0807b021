"""Time and identifiers behind one seam, so that tests can set the clock.

Wall-clock times are integers of microseconds since 1970-01-01 UTC; durations come from the monotonic clock
and are integers of microseconds too. Integers add up exactly whatever the order.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

Time = Annotated[datetime, Meta(tz=True)]
"""A moment, with its zone."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Wall-clock time in microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """A monotonic reading in microseconds; only differences within one host mean anything."""
    return time.monotonic_ns() // 1000


def from_us(microseconds: int) -> datetime:
    """Turn microseconds since the epoch into an aware UTC datetime.

    >>> from_us(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    return EPOCH + microseconds * MICROSECOND


def to_us(moment: datetime) -> int:
    """Turn an aware datetime into microseconds since the epoch, exactly.

    >>> to_us(from_us(1_700_000_000_123_456))
    1700000000123456
    """
    return (moment - EPOCH) // MICROSECOND


def new_event_id() -> str:
    """A UUID version 7 (RFC 9562): 48 bits of milliseconds, then random bits from the kernel.

    The kernel's generator is used because ``random`` may have been seeded by the host's own code, and then
    two forked children would make the same identifiers.

    >>> len(new_event_id()), new_event_id()[14]
    (36, '7')
    """
    milliseconds = time.time_ns() // 1_000_000
    raw = bytearray(milliseconds.to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
