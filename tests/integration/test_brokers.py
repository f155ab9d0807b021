"""Everything from a task to its row, on each broker that docs/brokers.md names and no other test runs on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.brokers import START
from tests.support.installation import Installation

SEND = "import sys; from tests.support.broker_app import spend; [spend.delay(n) for n in range(int(sys.argv[1]))]"
APP = "tests.support.broker_app"


@pytest.mark.parametrize("kind", START)
def test_events_come_through_and_outlive_the_writer_that_has_them(kind: str, tmp_path: Path, database_url: str) -> None:
    with START[kind](tmp_path, database_url) as broker, Installation(tmp_path, broker.url, database_url) as host:
        host.settings |= {"BROKER_OPTIONS": json.dumps(broker.options), "AUREA_RESEND_SECONDS": "1", **broker.environ}
        writer = host.writer(app=APP)
        host.worker("-c", "2", app=APP)
        send(host, 20)
        host.wait_for_executions(20)
        assert "Traceback" not in writer.log
        writer.kill()

        holding = host.writer(app=APP, DATABASE_URL="postgresql://aurea@127.0.0.1:1/nothing")
        send(host, 20)
        holding.wait_for("aurea-celery: the database")
        holding.kill()
        writer = host.writer(app=APP)
        host.wait_for_executions(40)

        assert host.written().input_tokens == 2 * sum(range(20))
        assert host.query("SELECT payload FROM metrics_rejected") == []
        assert "Traceback" not in writer.log


def send(host: Installation, count: int) -> None:
    """Publish tasks as a client of the user's does."""
    assert host.start("client", [sys.executable, "-c", SEND, str(count)]).wait() == 0
