"""A quorum queue on a real RabbitMQ: publisher, writer and receipts, also while the writer is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurea_celery.storage.audit import audit
from chaos.brokers import MissingServer, RabbitMQ
from tests.conftest import skip_missing
from tests.support.installation import Installation
from tests.support.servers import wait_until

APP = "tests.support.quorum_app"
TASKS = 200


@pytest.fixture
def rabbitmq(server_folder: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ of this test's own."""
    try:
        server = RabbitMQ(server_folder)
    except MissingServer:
        skip_missing("RabbitMQ")
    yield server
    server.remove()


def test_a_quorum_queue(tmp_path: Path, rabbitmq: RabbitMQ, database_url: str) -> None:
    with Installation(tmp_path, rabbitmq.url, database_url) as installation:
        writer = installation.writer(app=APP)
        worker = installation.worker("-c", "2", app=APP)
        installation.app.conf.task_default_queue_type = "quorum"
        installation.send_many("spend", [(number, 1) for number in range(TASKS)])
        installation.wait_for_executions(TASKS // 4)
        writer.kill()
        other = installation.writer(app=APP)
        installation.send_many("spend", [(number, 1) for number in range(TASKS)])
        installation.wait_for_executions(2 * TASKS)
        worker.end(signal.SIGTERM)

        assert installation.written().token_count == 2 * sum(range(TASKS)) + 2 * TASKS
        assert audit(database_url).is_clean
        assert "Global QoS is disabled" in other.log, "a quorum queue has none"
        assert "Traceback" not in writer.log + other.log
        wait_until(lambda: not rabbitmq.messages("aurea_metrics", ""), "an empty queue")
        assert not list(installation.outbox.glob(f"*/{worker.pid}-*")), "receipts have not come"
        assert rabbitmq.queues()["aurea_metrics"] == "quorum"
