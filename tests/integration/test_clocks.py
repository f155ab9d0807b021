"""Everything that a test starts has the clock of the test, also where that is shifted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.support.databases import scalar
from tests.support.processes import clean_environ

pytestmark = pytest.mark.clock
PATIENCE_SECONDS = 60.0


def test_servers_processes_and_files_have_the_same_clock(
    each_database_url: str, each_broker_url: str, tmp_path: Path
) -> None:
    (tmp_path / "new").touch()
    asked = [sys.executable, "-c", "import time; print(time.time())"]
    with redis.Redis.from_url(each_broker_url) as broker:
        moments = {
            "database": float(f"{scalar(each_database_url, 'SELECT extract(epoch FROM now())')}"),
            "broker": float(broker.time()[0]),
            "process": float(subprocess.run(asked, env=clean_environ(), capture_output=True, check=True).stdout),
            "file": (tmp_path / "new").stat().st_mtime,
        }

    now = time.time()
    assert {name: moment for name, moment in moments.items() if abs(now - moment) > PATIENCE_SECONDS} == {}


def test_durations_are_what_they_are() -> None:
    began, begun = time.time(), time.monotonic()
    time.sleep(0.1)
    assert 0.1 <= time.monotonic() - begun < PATIENCE_SECONDS
    assert 0.1 <= time.time() - began < PATIENCE_SECONDS
