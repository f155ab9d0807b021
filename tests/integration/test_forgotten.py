"""A broker that forgets while no writer runs: everything arrives that the outbox promises to keep, or is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import redis

from tests.support.installation import Installation
from tests.support.processes import Process, clean_environ
from tests.support.recorded import make_old
from tests.support.servers import wait_until

CALLS = 700


def forget(installation: Installation) -> None:
    with redis.Redis.from_url(installation.broker_url) as client:
        client.flushall()


def call(installation: Installation, **environ: str) -> Process:
    """A plain process whose calls are each a message, all of them at the broker; it ends once ``end`` is there."""
    settings = {"AUREA_BATCH_EVENTS": "1", "AUREA_FLUSH_INTERVAL_SECONDS": "0.01", "AUREA_BUDGET_REFRESH_SECONDS": "0"}
    command = ["tests.support.waiting_calls", str(CALLS), str(installation.folder)]
    script = installation.run("calls", command, {**settings, **environ}).wait_for("all called")
    wait_until(lambda: installation.length_of("aurea_metrics") == CALLS, "every call at the broker")
    return script


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


def test_many_messages_that_are_forgotten_arrive(installation: Installation) -> None:
    script = call(installation, AUREA_RESEND_SECONDS="1")
    forget(installation)
    installation.writer()

    installation.wait_for_executions(CALLS, seconds=120)
    (installation.folder / "end").touch()
    assert script.wait() == 0
    installation.wait_for_executions(CALLS + 1)
    assert installation.query("SELECT captured, written, dropped FROM metrics_sources WHERE captured > 0") == [
        (CALLS + 1, CALLS + 1, {})
    ]


def test_what_is_in_no_file_is_missing_and_not_in_the_outbox(installation: Installation) -> None:
    script = call(installation, AUREA_KEEP_SENT_SECONDS="0")
    forget(installation)
    installation.writer()
    (installation.folder / "end").touch()
    assert script.wait() == 0
    installation.run("more", ["tests.support.script", "1"], {"AUREA_KEEP_SENT_SECONDS": "0"}).wait()
    wait_until(lambda: installation.written().executions > 0, "what is left written")
    make_old(installation.database_url, "2 minutes")

    answer = check(installation)

    missing = CALLS + 2 - installation.written().executions
    assert missing > CALLS / 2
    assert answer["status"] == "missing"
    assert f"{missing:,} executions are missing" in answer["findings"][0]["sentence"]
    assert answer["outbox"]["events"] == 0
