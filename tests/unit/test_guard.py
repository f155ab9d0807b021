"""The guard: no fault of ours reaches the host."""

from __future__ import annotations

import logging

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from aurea_celery import _guard
from aurea_celery._guard import fault_counts, guarded, log_once_a_minute


@guarded
def fail(error: BaseException) -> None:
    """Raise what it is given."""
    raise error


@pytest.fixture(autouse=True)
def as_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    monkeypatch.setattr(_guard, "_last_logged", {})
    fault_counts.clear()


def test_a_fault_is_counted_and_logged_once_a_minute_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        fail(ValueError("a prompt of the user"))

    assert list(fault_counts.values()) == [3]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "ValueError" in caplog.text
    assert "prompt" not in caplog.text


def test_where_a_fault_happened_is_shown_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aurea_celery")
    fail(ValueError("redis://user:secret@host"))

    assert "in fail" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), SoftTimeLimitExceeded()])
def test_what_is_meant_for_the_task_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        fail(error)
    assert not fault_counts


def test_the_same_line_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for seconds in (0, 59, 61, 62):
        now[0] = 100.0 + seconds
        log_once_a_minute("key", logging.WARNING, "said at %d", seconds)
    assert [record.getMessage() for record in caplog.records] == ["said at 0", "said at 61"]
