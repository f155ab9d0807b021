"""What tests with a worker in this process share: its options, its settings, and a look at what it left where."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import Celery
from celery.backends.redis import RedisBackend

from tests.support.databases import connected
from tests.support.servers import wait_until

UNREAD_QUEUE = "unread"


def settings_for(broker_url: str, database_url: str, outbox: Path) -> dict[str, Any]:
    """An app's configuration, with the plugin's settings in it."""
    return {
        "broker_url": broker_url,
        "result_backend": broker_url,
        "result_backend_thread_safe": True,  # one for all threads, so that it can be closed
        "aurea_database_url": database_url,
        "aurea_outbox_dir": str(outbox),
        "aurea_flush_interval_seconds": 0.05,
    }


def close_results(app: Celery) -> None:
    """Close an app's connections for results; a result that is still referred to must not open one again."""
    if not isinstance(app.backend, RedisBackend):
        return
    backend: Any = app.backend
    backend.result_consumer.stop()
    backend.result_consumer._pubsub = None
    backend.client.close()


def publishers() -> int:
    """How many publisher threads of ours run in this process."""
    return sum(thread.name == "aurea-publisher" for thread in threading.enumerate())


def published_headers(app: Celery, task: str) -> dict[str, Any]:
    """The headers of a task's message, as they leave this process."""
    app.send_task(task, queue=UNREAD_QUEUE)
    with app.connection_for_read() as connection, connection.SimpleQueue(UNREAD_QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
    headers: dict[str, Any] = message.headers
    return headers


class Row(NamedTuple):
    """What tests look at in a row of ``metrics``."""

    task_name: str
    job_id: str
    status: str
    attempt: int
    token_count: int


class Rows:
    """The rows of one database."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def now(self) -> list[Row]:
        """All rows, by task and attempt."""
        statement = f"SELECT {', '.join(Row._fields)} FROM metrics ORDER BY task_name, attempt, id"
        with connected(self._url) as connection:
            return [Row(*row) for row in connection.execute(sa.text(statement))]

    def tags(self) -> list[dict[str, str]]:
        """The tags of all rows, by task and attempt."""
        with connected(self._url) as connection:
            return list(connection.scalars(sa.text("SELECT tags FROM metrics ORDER BY task_name, attempt, id")))

    def wait_for(self, count: int) -> list[Row]:
        """All rows once there are so many; never more."""
        wait_until(lambda: len(self.now()) >= count, f"{count} rows", seconds=20)
        found = self.now()
        assert len(found) == count, f"more rows than executions: {found}"
        return found
