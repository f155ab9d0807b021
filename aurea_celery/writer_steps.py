"""What the writer's consumer is made of: one queue, a heartbeat, and nothing that listens to anybody else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.connection import Connection
from celery.worker.consumer.tasks import Tasks

from aurea_celery.delivery.broker import PRUNE_TASK
from aurea_celery.writer import last_wait, settings_of
from aurea_celery.writer_health import BEAT_SECONDS, Heartbeat

MAX_BATCH_SECONDS = 300.0
"""How long a batch may be here while no process waits for the database, before one of them must hang."""

_Blueprint: Any = Consumer.Blueprint


class OwnQueue(Tasks):
    """Consumes the writer's queue alone, whatever settings, signal handlers or ``worker_direct`` have selected."""

    requires = (Connection,)

    def start(self, c: Any) -> None:
        """Called by Celery after each connect."""
        c.app.amqp.queues.select([settings_of(c.app).queue])
        super().start(c)
        c.task_consumer.add_queue = c.add_task_queue


class Beat(bootsteps.StartStopStep):
    """Writes the heartbeat file from the event loop, while the writer works."""

    requires = (OwnQueue,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        self._heartbeat = Heartbeat()
        self._entry: Any = None
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Called by Celery after each connect."""
        self.stop(c)
        # The timer may be a thread, which goes on while the loop hangs.
        self._entry = c.timer.call_repeatedly(BEAT_SECONDS, c.call_soon, (self._beat, c))

    def stop(self, c: Any) -> None:
        """Called by Celery when the connection is lost, and at the end."""
        if self._entry is not None:
            self._entry.cancel()

    def shutdown(self, c: Any) -> None:
        """Called by Celery at the end."""
        self.stop(c)
        self._heartbeat.close()

    def _beat(self, c: Any) -> None:
        pool = c.pool._pool
        if pool is None:  # it is stopping
            return
        alive = [process for process in pool._pool if process.exitcode is None]
        if len(alive) >= c.pool.num_processes and not is_stuck(state.reserved_requests):
            self._heartbeat.beat()


class WriterBlueprint(_Blueprint):  # type: ignore[misc]  # its stubs call it a variable
    """The consumer's parts, without those that would make the writer a part of the host's cluster.

    There is no remote control, whatever ``worker_enable_remote_control`` says: a command that the host broadcasts to
    its workers would make the writer take the host's tasks, or leave it without processes. There are no events, to
    which monitors answer with such commands; nor the 28 queues that Celery adds to quorum queues for countdowns.
    """

    default_steps = (Connection, OwnQueue, Beat, "celery.worker.consumer.consumer:Evloop")

    def __init__(self, steps: Iterable[Any] | None = None, **options: Any) -> None:
        # The host's own steps are left out: what they consume is for the host's workers.
        super().__init__(**options)


def is_stuck(requests: Iterable[Any]) -> bool:
    """Return whether a batch is here for too long, and neither the database nor upkeep explains it."""
    waiting = list(requests)
    if not waiting or any(request.name == PRUNE_TASK for request in waiting):
        return False
    oldest: float = min(request.received_at for request in waiting)
    return time.monotonic() - max(oldest, last_wait()) > MAX_BATCH_SECONDS
