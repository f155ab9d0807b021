"""Tests on another date: which dates these are, and that a test which has a date of its own fails there."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.clock.__main__ import SHIFTS, make_library, run
from tests.conftest import skip_missing

DATED = """
from datetime import UTC, datetime

import pytest


@pytest.mark.clock
def test_it_is_not_late():
    assert datetime.now(UTC).timestamp() < {until}
"""


@pytest.mark.parametrize(
    ("now", "dates"),
    [
        ("2026-12-01 03:00", "2028-01-05 2027-01-17 2026-12-02 2027-01-31 2026-12-31 2028-02-29"),
        ("2027-12-31 23:59", "2029-02-03 2028-02-16 2028-01-01 2028-01-31 2028-12-31 2028-02-29"),
        ("2028-02-28 12:00", "2029-04-03 2028-04-15 2028-02-29 2028-02-29 2028-12-31 2032-02-29"),
    ],
)
def test_the_dates_lie_ahead(now: str, dates: str) -> None:
    begin = datetime.fromisoformat(f"{now}+00:00")
    moments = [shift(begin) for shift in SHIFTS.values()]

    assert [f"{moment:%Y-%m-%d}" for moment in moments] == dates.split()
    assert all(moment > begin for moment in moments)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        skip_missing("A C compiler")
    return make_library(tmp_path_factory.mktemp("library"))


def test_a_test_that_has_a_date_of_its_own_fails(library: Path, tmp_path: Path) -> None:
    dated = tmp_path / "test_dated.py"
    dated.write_text(DATED.format(until=(datetime.now(UTC) + timedelta(days=30)).timestamp()))
    arguments = ["-c", "pyproject.toml", str(dated)]

    assert run(library, "a-day", arguments).holds
    assert not run(library, "47-days", arguments).holds
