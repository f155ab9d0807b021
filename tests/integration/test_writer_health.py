"""``aurea writer-health`` with real writers: one that works, hangs, has no broker, has no processes, or is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurea_celery.writer_health import MAX_SILENT_SECONDS
from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.servers import wait_until


def health(installation: Installation, *options: str) -> tuple[int, str]:
    """What a health check beside the writer says: it has neither app, broker nor database."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AUREA_", "DATABASE_URL"))}
    asked = subprocess.run(
        [sys.executable, "-m", "aurea_celery.cli", "writer-health", *options],
        env={**environ, "TMPDIR": str(installation.folder)},
        cwd=installation.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return asked.returncode, asked.stdout + asked.stderr


def is_well(installation: Installation) -> bool:
    return health(installation)[0] == 0


def let_time_pass(installation: Installation, writer: Process) -> None:
    """As if the last heartbeat had been long ago."""
    (file,) = Path(installation.folder).glob(f"aurea-celery-writers-*/{writer.pid}")
    with file.open("r+b", buffering=0) as opened:
        opened.write(f"{time.monotonic() - MAX_SILENT_SECONDS - 5:020.3f}\n".encode())


def test_a_writer_that_hangs_is_seen_and_one_that_is_gone_is_not_taken_for_it(installation: Installation) -> None:
    assert health(installation) == (
        1,
        "no such writer runs here as this user; start one: celery -A yourapp aurea writer\n",
    )
    writer = installation.writer()
    other = installation.writer()
    wait_until(lambda: is_well(installation), "both writers being well")

    writer.send(signal.SIGSTOP)
    let_time_pass(installation, writer)
    status, said = health(installation)
    assert (status, health(installation, "--pid", str(other.pid))[0]) == (1, 0)
    assert f"the writer with process id {writer.pid} has not worked for 3" in said
    found = {one["pid"]: one["is_well"] for one in json.loads(health(installation, "--json")[1])["writers"]}
    assert found == {writer.pid: False, other.pid: True}
    writer.send(signal.SIGCONT)
    wait_until(lambda: is_well(installation), "a writer that goes on being well")

    writer.kill()
    assert health(installation) == (0, f"the writer with process id {other.pid} works\n")
    other.end(signal.SIGTERM)
    assert health(installation)[0] == 1
    assert list(installation.folder.glob("aurea-celery-writers-*/*")) == []


def test_a_writer_whose_processes_do_not_come_back_is_ill(installation: Installation) -> None:
    writer = installation.writer(app="tests.support.childless_app")
    wait_until(lambda: is_well(installation), "a writer being well")
    (child,) = writer.children()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not writer.children(), "no process left")

    let_time_pass(installation, writer)
    assert health(installation)[0] == 1
    with pytest.raises(TimeoutError):
        wait_until(lambda: is_well(installation), "a heartbeat without a pool", seconds=5)


def test_a_writer_without_a_broker_is_ill(installation: Installation) -> None:
    installation.broker_url = "redis://127.0.0.1:1/0"
    command = ["celery", "-A", "tests.support.user_app", "aurea", "writer"]
    installation.run("writer", command).wait_for("Cannot connect to redis")

    status, said = health(installation)
    assert status == 1
    assert "has not worked yet: it hangs, or has no broker" in said
