"""A clock that stands: for tests whose rows are of a fixed date."""

from __future__ import annotations

import time
from datetime import datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from aurea_celery import clock
from aurea_celery.storage import database_clock


def stop_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Stop the clocks of this process and of its databases at one moment.

    What :mod:`aurea_celery.clock` and :mod:`aurea_celery.storage.database_clock` ask is replaced, so that no caller is
    missed, whatever it has imported and when.
    """
    stopped_ns = clock.to_us(moment) * 1000
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: stopped_ns, monotonic_ns=time.monotonic_ns))
    for statement in ("_TRANSACTION_BEGAN", "_NOW"):
        stopped = sa.text("SELECT CAST(:moment AS timestamptz)").bindparams(moment=moment)
        monkeypatch.setattr(database_clock, statement, stopped)
