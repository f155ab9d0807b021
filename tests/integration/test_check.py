"""``aurea check`` beside real processes: each sentence it can say about what is on its way, dropped or missing."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis

from aurea_celery.embedded import EmbeddedValkey
from tests.support.installation import Installation
from tests.support.processes import clean_environ
from tests.support.recorded import execution, make_old, source, write
from tests.support.servers import free_port, wait_until

SCRIPT = "tests.support.script"
WITH_APP = ("celery", "-A", "tests.support.user_app", "aurea", "check")
ALONE = ("aurea_celery.cli", "check")
# A script that takes its time sends more than one message.
WAITING = r"(1 message waits|\d+ messages wait) in aurea_metrics"
START_ONE = r"start one: celery -A yourapp aurea writer\."


class Said(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    lines: list[str]

    @property
    def first(self) -> str:
        """The sentence that matters."""
        return self.lines[0]


def check(installation: Installation, *command: str, **environ: str) -> Said:
    """Run the command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", *(command or WITH_APP)],
        check=False,
        env={**clean_environ(), **installation.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout, done.stderr
    about_executions = [line for line in done.stdout.splitlines() if not line.startswith("List prices: ")]  # they age
    return Said(done.returncode, about_executions)


def run_script(installation: Installation, count: int, **environ: str) -> int:
    """Run the user's plain process to its end; its pid."""
    script = installation.run(f"script-{count}", [SCRIPT, str(count)], environ)
    assert script.wait() == 0, script.log
    return script.pid


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that this test may stop."""
    server = EmbeddedValkey(tmp_path)
    yield server
    server.stop()


def test_before_while_and_after_somebody_writes(installation: Installation) -> None:
    run_script(installation, 30)
    unwritten = check(installation)
    writer = installation.writer()
    installation.wait_for_executions(30)
    names = ("aurea_metrics", "aurea_metrics.unacked_index")
    wait_until(lambda: not any(installation.length_of(name) for name in names), "every message acknowledged")
    written = check(installation, *ALONE, "--broker", installation.broker_url, "--by-process")
    writer.stop()
    run_script(installation, 6)
    make_old(installation.database_url, "14 minutes")
    ended = check(installation)

    assert unwritten.status == 4
    assert re.fullmatch(
        rf"Nobody is writing: no writer has ever written to this database and {WAITING}; {START_ONE}", unwritten.first
    )
    assert re.fullmatch(
        rf"30 executions are on their way: {WAITING},"
        r" 30 in the outbox of this host, the oldest for \d+ seconds?\.",
        unwritten.lines[1],
    )
    assert written.first == "Everything is accounted for: 30 executions captured, 30 written."
    # What the script left is sent a second time, so that there may be duplicates.
    assert written.lines[3].split()[:-1] == ["all", "processes", "30", "30", "30", "0", "0", "0"]
    assert f"{socket.gethostname()} pid" in written.lines[4]
    assert ended.status == 4
    assert re.fullmatch(rf"Nobody is writing: the last write is 14 minutes old and {WAITING}; {START_ONE}", ended.first)


def test_a_broker_that_is_away(installation: Installation) -> None:
    write(installation.database_url, execution())
    away = f"redis://127.0.0.1:{free_port()}/0"
    run_script(installation, 3, BROKER_URL=away)

    said = check(installation, BROKER_URL=away)

    assert said.status == 3
    assert said.lines[0] == f"The broker {away} does not answer, so that nobody knows what waits there."
    assert re.fullmatch(
        r"3 executions are on their way: 3 in the outbox of this host, the oldest for \d+ seconds?\.", said.lines[1]
    )


def test_an_outbox_that_is_full(installation: Installation) -> None:
    """Nobody has written, and nobody has heard of it; but the outbox knows."""
    write(installation.database_url, execution())
    away = f"redis://127.0.0.1:{free_port()}/0"
    limits = {"BROKER_URL": away, "AUREA_OUTBOX_MAX_BYTES": str(1024 * 1024), "AUREA_BATCH_EVENTS": "100"}
    pid = run_script(installation, 5_000, **limits)

    said = check(installation, "celery", *WITH_APP[1:], "--json", **limits)
    answer: dict[str, Any] = json.loads("".join(said.lines))

    assert said.status == 1
    (dropped,) = (found["sentence"] for found in answer["findings"] if found["kind"] == "dropped")
    assert re.fullmatch(
        rf"[\d,]+ executions were dropped on host {socket.gethostname()} \(pid {pid}\): the outbox was full\.", dropped
    )
    assert answer["books"]["captured"] == 5_001
    assert answer["books"]["dropped"] + answer["books"]["pending"] == 5_000
    assert answer["outbox"]["events"] == answer["books"]["pending"] > 1_000


def test_an_outbox_that_was_removed_under_its_process(
    tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str
) -> None:
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        installation.writer()
        script = installation.run("script", ["tests.support.removed_outbox", str(tmp_path)])
        installation.wait_for_executions(5)
        own_valkey.stop()
        (tmp_path / "go on").touch()
        wait_until((tmp_path / "removed").exists, "the outbox removed")
        own_valkey.restart()
        installation.wait_for_executions(6)
        (tmp_path / "end").touch()
        assert script.wait() == 0
        is_open = "SELECT FROM metrics_sources WHERE open_since IS NOT NULL"
        wait_until(lambda: not installation.query(is_open), "the books closed")

        said = check(installation)

        assert said.first == (
            f"7 executions were dropped on host {socket.gethostname()} (pid {script.pid}):"
            " the outbox folder was removed while in use."
        )
        assert said.lines[-1].split()[:-1] == ["all", "processes", "13", "6", "6", "0", "7", "0"]
        assert "is counted as dropped" in script.log


def test_what_is_nowhere_is_missing(installation: Installation) -> None:
    run_script(installation, 1)
    with redis.Redis.from_url(installation.broker_url) as client:
        client.flushall()
    for folder in installation.outbox.glob("*/[!.]*"):
        shutil.rmtree(folder)
    here = msgspec.structs.replace(source(captured=13), host=socket.gethostname(), pid=311)
    there = msgspec.structs.replace(source(captured=3), host="web-2", pid=7)
    write(installation.database_url, execution(), sender=here)
    write(installation.database_url, execution(), sender=there)
    just_now = check(installation)
    make_old(installation.database_url, "2 minutes")

    said = check(installation)

    assert just_now.status == 3, "a writer may have it in hand"
    (root,) = installation.outbox.glob("*")
    assert said.status == 1
    assert said.lines[:2] == [
        f"12 executions are missing, captured on host {socket.gethostname()} (pid 311):"
        f" neither in aurea_metrics nor in the outbox {root}.",
        "2 executions are on their way: 2 of host web-2 (pid 7) in no outbox of this host.",
    ]


def test_nothing_was_captured(installation: Installation) -> None:
    said = check(installation)

    assert (said.status, said.first) == (0, "Nothing has been captured yet.")
