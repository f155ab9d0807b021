"""The points of a time series: where each quarter, hour or day begins, on the clocks of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Interval = Literal["15m", "1h", "1d"]
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


def begin_of(interval: Interval, time: datetime, zone: ZoneInfo) -> datetime:
    """The beginning of the point that a time is in, in UTC.

    >>> begin_of("1h", datetime(2026, 11, 24, 9, 50, tzinfo=UTC), ZoneInfo("Asia/Kathmandu")).isoformat()
    '2026-11-24T09:15:00+00:00'
    """
    local = time.astimezone(zone)
    if interval == "1d":
        return datetime(local.year, local.month, local.day, tzinfo=zone).astimezone(UTC)
    past = timedelta(minutes=local.minute if interval == "1h" else local.minute % 15)
    return time.astimezone(UTC) - past - timedelta(seconds=local.second, microseconds=local.microsecond)


def next_begin(interval: Interval, begin: datetime, zone: ZoneInfo) -> datetime:
    """The beginning of the point after one that begins there; a local day has 23, 24 or 25 hours.

    >>> summer_begins = datetime(2026, 3, 28, 23, tzinfo=UTC)
    >>> next_begin("1d", summer_begins, ZoneInfo("Europe/Madrid")).isoformat()
    '2026-03-29T22:00:00+00:00'
    """
    if interval == "1d":
        tomorrow = begin.astimezone(zone).replace(tzinfo=None) + DAY
        return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).astimezone(UTC)
    if interval == "1h":  # where clocks move by half an hour, one hour has 30 or 90 minutes
        later = begin_of("1h", begin + HOUR, zone)
        return later if later > begin else begin_of("1h", begin + 2 * HOUR, zone)
    return begin + QUARTER


def begins(interval: Interval, since: datetime, until: datetime, zone: ZoneInfo, most: int) -> list[datetime]:
    """The beginnings of all points that hold a time from since until before until, but at most so many and one.

    The last is the end of the last point.
    """
    found = [begin_of(interval, since, zone)]
    while found[-1] < until and len(found) <= most + 1:
        found.append(next_begin(interval, found[-1], zone))
    return found
