"""A clock that stands: for tests whose rows are of a fixed date."""

from __future__ import annotations

import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from aurea_celery import clock


def stop_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Let everything in this process that asks :mod:`aurea_celery.clock` for the time get one moment.

    The module's own ``time`` is replaced, so that no caller is missed, whatever it has imported and when.
    """
    stopped_ns = clock.to_us(moment) * 1000
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: stopped_ns, monotonic_ns=time.monotonic_ns))
