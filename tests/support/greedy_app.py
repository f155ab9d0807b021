"""A user's app whose settings, signal handlers and bootsteps are for its workers, and would lead the writer astray."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, bootsteps, signals
from kombu import Consumer, Queue

from aurea_celery import Aurea

app = Celery("greedy_app", broker=os.environ["BROKER_URL"])
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=True,
    worker_send_task_events=True,
    worker_direct=True,
    worker_state_db=f"{os.environ['TMPDIR']}/state",
    worker_max_tasks_per_child=1,
    worker_max_memory_per_child=1,
    worker_prefetch_multiplier=100,
    worker_concurrency=7,
    worker_pool="threads",
    task_time_limit=1,
    task_soft_time_limit=1,
    task_queues=[Queue("celery"), Queue("reports")],
    task_routes={"*": "reports", "aurea_celery.*": "reports"},
    accept_content=["json", "pickle", "yaml"],
)
Aurea(app)


class OwnMessages(bootsteps.ConsumerStep):
    """What Celery's guide calls a custom message consumer."""

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """Called by Celery."""
        return [Consumer(channel, queues=[Queue("stepped", routing_key="stepped")], on_message=lambda one: one.ack())]


app.steps["consumer"].add(OwnMessages)


@signals.celeryd_after_setup.connect
def add_queue_before(instance: Any, **_: Any) -> None:
    """As Celery's guide adds a queue for each worker."""
    instance.app.amqp.queues.select_add("selected")


@signals.worker_ready.connect
def add_queues_after(sender: Any, **_: Any) -> None:
    """A consumer of more queues, once the worker runs."""
    sender.add_task_queue("added")
    sender.task_consumer.add_queue(Queue("consumed", routing_key="consumed"))
    sender.task_consumer.consume()
