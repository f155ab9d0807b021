"""Sync delivery with real workers: an acknowledged task's event is with the broker, whatever happens to the host."""

from __future__ import annotations

import json
import os
import shutil
import signal
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from aurea_celery.storage.audit import audit
from chaos.proxy import Proxy
from tests.support.installation import Installation
from tests.support.processes import Process, session_of
from tests.support.servers import wait_until

TASKS = 200
SYNC = {"AUREA_DELIVERY": "sync", "AUREA_FLUSH_INTERVAL_SECONDS": "3600"}
"""The publisher never comes to its turn: what is sent was sent while a task waited."""


def lose_host(installation: Installation, worker: Process) -> None:
    """SIGKILL of the whole worker at once, and its disk is gone."""
    for pid in session_of(worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    shutil.rmtree(installation.outbox)


def messages_of(installation: Installation, queue: str) -> list[Any]:
    """What waits in a queue of the broker."""
    with redis.Redis.from_url(installation.broker_url) as client:
        return [json.loads(message) for message in client.lrange(queue, 0, -1)]


def unacknowledged(installation: Installation) -> set[str]:
    """The ids of the tasks that nobody has acknowledged: those that wait and those that are handed out."""
    with redis.Redis.from_url(installation.broker_url) as client:
        handed_out = [json.loads(message)[0] for message in client.hvals("unacked")]
    return {message["headers"]["id"] for message in [*handed_out, *messages_of(installation, "celery")]}


def sent_events(installation: Installation) -> int:
    """How many events wait for the writer, each counted once."""
    bodies = [json.loads(b64decode(message["body"])) for message in messages_of(installation, "aurea_metrics")]
    sources = [source for body in bodies for source in json.loads(body[0][0])["sources"]]
    return len({event["event_id"] for source in sources for event in source["events"]})


def test_an_acknowledged_task_survives_its_host(installation: Installation) -> None:
    worker = installation.worker("-c", "2", ACKS_LATE="1", **SYNC)
    installation.send_many("spend", [(number, 1, 0.005) for number in range(TASKS)])
    wait_until(lambda: len(installation.truth_of("spent")) >= TASKS // 2, "half of the tasks")
    lose_host(installation, worker)

    left = unacknowledged(installation)
    acknowledged = {task_id: tokens for task_id, tokens in installation.truth_of("spent") if task_id not in left}
    assert 0 < len(acknowledged) < TASKS, "the worker was killed in the middle"
    events = sent_events(installation)
    assert events >= len(acknowledged)
    installation.writer()
    installation.wait_for_executions(events)

    rows = installation.query("SELECT task_id, status, executions, token_count FROM metrics")
    written = {row.task_id: row.token_count for row in rows if row.status == "success"}
    assert acknowledged.items() <= written.items(), "an acknowledged task has no row"
    assert all(row.executions == 1 for row in rows)
    assert len({row.task_id for row in rows}) == len(rows), "an execution has two rows"
    assert audit(installation.database_url).is_clean


@pytest.mark.parametrize(
    "options",
    [
        ["-P", "prefork", "-c", "2", "--max-tasks-per-child", "7"],
        ["-P", "threads", "-c", "4"],
        ["-P", "solo"],
        ["-P", "gevent", "-c", "4"],
        ["-P", "eventlet", "-c", "4"],
    ],
    ids=["recycled", "threads", "solo", "gevent", "eventlet"],
)
def test_every_pool(installation: Installation, options: list[str]) -> None:
    worker = installation.worker(*options, **SYNC)
    installation.send_many("spend", [(number, 1) for number in range(50)])
    wait_until(lambda: len(installation.truth_of("spent")) == 50, "every task")
    wait_until(lambda: sent_events(installation) == 50, "every event at the broker", seconds=10)

    worker.stop()

    assert sent_events(installation) == 50
    assert "internal fault" not in worker.log
    assert "cannot send" not in worker.log


def test_a_broker_that_goes_silent_delays_a_task_once_and_loses_nothing(
    installation: Installation,
) -> None:
    with Proxy(urlsplit(installation.broker_url).port or 0) as proxy:
        installation.writer()
        url = f"redis://127.0.0.1:{proxy.port}/0"
        sync = {"AUREA_DELIVERY": "sync", "AUREA_SYNC_TIMEOUT_SECONDS": "1.5"}
        worker = installation.worker("-c", "1", AUREA_BROKER_URL=url, **sync)
        installation.send_many("spend", [(number, 1) for number in range(20)])
        installation.wait_for_executions(20)

        proxy.hold("replies")
        installation.send_many("spend", [(number, 1) for number in range(20)])
        wait_until(lambda: len(installation.truth_of("spent")) == 40, "tasks without a broker", seconds=15)
        worker.wait_for("cannot send to the broker (TimeoutError)")
        proxy.release()
        installation.wait_for_executions(40)
        installation.send_many("spend", [(number, 1) for number in range(20)])
        installation.wait_for_executions(60)
        worker.stop()

        assert installation.written().token_count == 3 * (sum(range(20)) + 20)
        assert audit(installation.database_url).is_clean
        assert "internal fault" not in worker.log


def test_a_plain_process_that_is_killed_after_its_last_call(installation: Installation) -> None:
    script = installation.run("dying", ["tests.support.dying_script", "20"], SYNC)
    assert script.wait() == -signal.SIGKILL
    assert "('HELLO', 10)" in script.log
    shutil.rmtree(installation.outbox)

    assert sent_events(installation) == 20


def test_a_forked_process_sends_over_a_connection_of_its_own(installation: Installation) -> None:
    script = installation.run("forking", ["tests.support.forking"], SYNC)
    assert script.wait() == 0, script.log

    assert sent_events(installation) == 8
    assert "cannot send" not in script.log
