"""The writer beside the host's workers: no command, setting or handler of theirs makes it take a task of the host."""

from __future__ import annotations

from typing import Any

import pytest
from celery.worker.control import Panel

from aurea_celery.events import encode
from tests.support.events import make_event
from tests.support.hostile import one_batch
from tests.support.installation import Installation
from tests.support.publishing import publish_batch
from tests.support.servers import wait_until

ARGUMENT = "4929-0000-of-the-host"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "add_consumer": {"queue": "reports"},
    "autoscale": {"max": 1, "min": 0},
    "cancel_consumer": {"queue": "aurea_metrics"},
    "election": {"id": "1", "topic": "t", "action": "a"},
    "hello": {"from_node": "nobody@nowhere"},
    "pool_grow": {"n": 1},
    "pool_restart": {"reload": True},
    "pool_shrink": {"n": 1},
    "query_task": {"ids": ["x"]},
    "rate_limit": {"task_name": "aurea_celery.write_metrics", "rate_limit": "1/h"},
    "revoke": {"task_id": "x", "terminate": True},
    "revoke_by_stamped_headers": {"headers": {"x": "y"}},
    "terminate": {"task_id": "x", "signal": "SIGKILL"},
    "time_limit": {"task_name": "aurea_celery.write_metrics", "soft": 0.001, "hard": 0.001},
}
"""Of each command that needs some; the others take none."""

COMMANDS = sorted(set(Panel.data) - {"shutdown"})


def test_no_command_that_the_host_broadcasts_reaches_the_writer(installation: Installation) -> None:
    assert set(ARGUMENTS) <= set(COMMANDS)
    writer = installation.writer()
    (child,) = writer.children()
    host = installation.worker("-c", "4", "--without-gossip")  # with gossip an election of one ends Celery's own worker
    control = installation.app.control
    for command in COMMANDS:
        control.broadcast(command, arguments=ARGUMENTS.get(command, {}))
    host.wait_for("rate limit for tasks of type aurea_celery.write_metrics")
    answering = control.ping(timeout=2) or []

    for number in range(40):
        installation.send("spend", 1, number, queue="reports")
        installation.send("fail", ARGUMENT, queue="reports")
    installation.wait_for_executions(80)
    control.broadcast("shutdown")
    wait_until(lambda: host.status is not None, "the host's worker stopped")
    installation.worker("-Q", "reports")
    installation.send("spend", 1, 1, queue="reports")
    installation.wait_for_executions(81)

    assert [name.split("@")[0] for one in answering for name in one] == ["celery"]
    assert len(installation.truth_of("spent")) == 41
    assert installation.query("SELECT payload FROM metrics_rejected") == []
    assert (writer.status, writer.children()) == (None, [child])


ELSEWHERE = ("celery", "reports", "stepped", "selected", "added", "consumed")


def test_nothing_that_the_app_says_makes_the_writer_take_another_queue(installation: Installation) -> None:
    for queue in ELSEWHERE:
        installation.app.send_task("somebodys.task", args=[ARGUMENT], queue=queue)
    writer = installation.writer(app="tests.support.greedy_app")
    (child,) = writer.children()
    for number in range(3):
        publish_batch(installation, one_batch(encode(make_event())))
        installation.wait_for_executions(number + 1)

    assert [installation.length_of(queue) for queue in ELSEWHERE] == [1] * len(ELSEWHERE)
    assert installation.query("SELECT payload FROM metrics_rejected") == []
    assert (writer.status, writer.children()) == (None, [child]), "the host's limits of a child are the host's"
    assert writer.log.count("takes its own queue alone") == 2
    assert "Traceback" not in writer.log
    assert not (installation.folder / "state").exists()


def test_the_hosts_own_queue_is_not_the_writers(installation: Installation) -> None:
    command = ["celery", "-A", "tests.support.user_app", "aurea", "writer"]
    process = installation.run("writer", command, {"AUREA_QUEUE": "celery"})

    assert process.wait() == 2
    assert "aurea_queue is 'celery', the queue of the app's own tasks" in process.log
    assert "Traceback" not in process.log


def test_a_host_that_does_nothing_fills_no_log(installation: Installation) -> None:
    writer = installation.writer(BROKER_URL="redis://127.0.0.1:1/0", AUREA_BROKER_URL=installation.broker_url)
    installation.worker("-c", "1")
    wait_until(lambda: list(installation.outbox.glob("*/.budgets")), "the writer's answer about budgets")
    assert "write_metrics[" not in writer.log

    installation.send("spend", 1, 1)
    installation.wait_for_executions(1)
    writer.wait_for("write_metrics[").wait_for("succeeded")


@pytest.mark.parametrize("accepted", ["pickle", "yaml"])
def test_a_worker_of_the_hosts_writes_whatever_it_accepts(installation: Installation, accepted: str) -> None:
    installation.settings |= {"ACCEPT_CONTENT": accepted, "C_FORCE_ROOT": "1"}
    worker = installation.worker("-Q", "celery,aurea_metrics", "--without-gossip", "--without-mingle")
    installation.send("spend", 1, 2, serializer=accepted)

    installation.wait_for_executions(1)

    assert installation.query("SELECT payload FROM metrics_rejected") == []
    assert "Traceback" not in worker.log
