"""A process that cannot write its outbox and is killed: what it had arrives, or is missing in the books."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aurea_celery.embedded import EmbeddedValkey
from tests.support.installation import Installation
from tests.support.processes import clean_environ
from tests.support.recorded import make_old
from tests.support.servers import wait_until

WITHOUT_DISK, SCRIPT = "tests.support.blocked_outbox", "tests.support.script"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that this test may stop."""
    server = EmbeddedValkey(tmp_path)
    yield server
    server.stop()


def kill_in_the_middle(installation: Installation, valkey: EmbeddedValkey, *words: str, **environ: str) -> None:
    """While the broker is away, kill a process that has captured ten executions, and cannot write."""
    valkey.stop()
    command = [WITHOUT_DISK, "10", str(installation.folder), *words]
    process = installation.run("killed", command, {"AUREA_SHUTDOWN_FLUSH_SECONDS": "0", **environ})
    wait_until((installation.folder / "called").exists, "ten calls")
    process.send(signal.SIGKILL)
    process.wait()
    valkey.restart()


def check(installation: Installation) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.support.user_app", "aurea", "check", "--json"],
        check=False,
        env={**clean_environ(), **installation.environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_an_outbox_that_cannot_be_made(tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str) -> None:
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        blocked = tmp_path / "a file"
        blocked.touch()
        kill_in_the_middle(installation, own_valkey, AUREA_OUTBOX_DIR=str(blocked / "outbox"))

        answer = check(installation)
        installation.writer()  # has the plugin too, and takes over what the dead have left
        installation.wait_for_executions(10)

        assert (answer["outbox"]["events"], answer["books"]["pending"]) == (10, 10)
        assert {found["kind"] for found in answer["findings"]} == {"on_the_way"}
        wait_until(lambda: not list(tmp_path.glob("aurea-celery-*/*/*/[!.]*")), "the folder gone")


def test_a_disk_that_is_full(tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str) -> None:
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        kill_in_the_middle(installation, own_valkey, "full")

        at_once = check(installation)
        installation.writer()
        installation.wait_for_executions(1)
        told = "SELECT FROM metrics_sources WHERE captured = 11"
        wait_until(lambda: installation.query(told), "what was in memory told")
        make_old(installation.database_url, "2 minutes")
        later = check(installation)

        assert (at_once["outbox"]["events"], at_once["books"]["pending"]) == (1, 11)
        assert {found["kind"] for found in at_once["findings"]} == {"on_the_way"}
        assert (later["status"], later["books"]["pending"], later["books"]["written"]) == ("missing", 10, 1)


def test_a_user_who_is_only_a_number(installation: Installation) -> None:
    """As in a container: no entry in the list of users, and no home."""
    environ = {"AUREA_OUTBOX_DIR": "", "HOME": "", "TMPDIR": str(installation.folder)}
    code = f"import os, pwd; pwd.getpwuid = lambda _: {{}}[0]; del os.environ['HOME']; import {SCRIPT} as s; s.main(5)"
    script = installation.start("nobody", [sys.executable, "-c", code], environ)
    assert script.wait() == 0, script.log
    writer = installation.writer()
    installation.wait_for_executions(5)
    writer.stop()

    assert "aurea-celery: " not in script.log
