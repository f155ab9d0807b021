"""The publisher's own connection to the broker.

The app's producer pool is never used: it is shared with the host's own publishing, has no time limit on a frozen
Redis, and passes through every signal handler of the host. Here each network call ends within
``aurea_broker_timeout_seconds``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from kombu import Producer, Queue

from aurea_celery.delivery.receipts import NOTHING, Received, read_answers
from aurea_celery.queue_look import bound_calls
from aurea_celery.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

WRITE_TASK = "aurea_celery.write_metrics"
PRUNE_TASK = "aurea_celery.prune"
NO_EVENTS = "<0 events>"
"""How a message describes its argument that only asks for something."""

RECEIPTS = ".receipts."
"""In the name of a queue for receipts, after that of the writer's queue: nowhere else a writer answers to."""

RECEIPT_QUEUE_SECONDS = 600.0


def metrics_queue(settings: Settings) -> Queue:
    """The writer's queue: durable, reached through the broker's default exchange by its name.

    A ``Queue`` object on purpose: a queue given as a string would be registered on the app, and the host's own
    workers would begin to consume it.
    """
    return Queue(
        settings.queue,
        routing_key=settings.queue,
        durable=True,
        queue_arguments=settings.queue_arguments or None,
    )


def receipt_queue(name: str) -> Queue:
    """A queue for receipts, which goes away by itself some time after its process."""
    return Queue(name, routing_key=name, durable=True, expires=RECEIPT_QUEUE_SECONDS)


class Broker:
    """Sends what the writer is to do, and takes and sends receipts. Used by one thread at a time.

    ``reply_to`` is where receipts are asked for; None if they are not.
    """

    def __init__(self, app: Celery, settings: Settings, reply_to: str | None = None) -> None:
        self.reply_to = reply_to
        self._known_queues: set[str] = set()
        self._app = app
        self._settings = settings
        self._queue = metrics_queue(settings)
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def send(self, batch: bytes, event_count: int) -> None:
        """Publish a batch and return once the broker has it.

        Raises:
            Exception: Whatever the transport raises; the connection is closed then, and the next call begins anew.
        """
        self._call(WRITE_TASK, [batch.decode()], f"<{event_count} events>")

    def ask_to_prune(self) -> str:
        """Ask the writer to prune, and return once the broker has that; the id of the message.

        Raises:
            Exception: As above.
        """
        return self._call(PRUNE_TASK, [], "()")

    def _call(self, task: str, arguments: list[str], description: str) -> str:
        """Publish a call of one of our tasks, as Celery would; its id."""
        try:
            producer = self._connected()
            message_id = str(uuid4())
            producer.publish(
                _task_body(arguments),
                exchange="",
                routing_key=self._settings.queue,
                content_type="application/json",
                content_encoding="utf-8",
                headers=task_headers(message_id, description, task),
                correlation_id=message_id,
                delivery_mode=2,
                mandatory=True,  # RabbitMQ confirms what no queue takes, unless it is told to give it back
                retry=False,
            )
        except BaseException:
            self.close()
            raise
        return message_id

    def waiting_messages(self) -> int:
        """How many messages wait in the queue.

        Raises:
            Exception: Whatever the transport raises.
        """
        try:
            self._connected()
            # Not passive: on Redis an empty queue does not exist, and a passive look would call that an error.
            declared: Any = self._bound_queue.queue_declare()
            return int(declared.message_count)
        except BaseException:
            self.close()
            raise

    def receive(self) -> Received:
        """What writers have answered since the last call.

        Raises:
            Exception: Whatever the transport raises.
        """
        if self.reply_to is None:
            return NOTHING
        try:
            queue = self._declared(self.reply_to)
            return read_answers([message.payload for message in iter(lambda: queue.get(no_ack=True), None)])
        except BaseException:
            self.close()
            raise

    def answer(self, reply_to: str, answer: object) -> None:
        """Send the receipt of a batch, and what else was asked for.

        Raises:
            Exception: Whatever the transport raises.
        """
        try:
            self._declared(reply_to)
            self._connected().publish(answer, exchange="", routing_key=reply_to, serializer="json", retry=False)
        except BaseException:
            self.close()
            raise

    def _declared(self, name: str) -> Any:
        """A queue for receipts, declared once per connection, so that Redis knows when it goes."""
        channel: Any = self._connected().channel
        queue = receipt_queue(name)(channel)
        if name not in self._known_queues:
            queue.declare()
            self._known_queues.add(name)
        return queue

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        self._known_queues.clear()
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is broken or done with; either way it goes
                connection.release()

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection = self._connect()
            channel: Any = self._connection.default_channel
            self._bound_queue = self._queue(channel)
            self._bound_queue.declare()
            self._producer = Producer(channel, auto_declare=False)
        return self._producer

    def _connect(self) -> Connection:
        timeout = self._settings.broker_timeout_seconds
        connection = self._app.connection_for_write(
            self._settings.broker_url or None, connect_timeout=timeout, heartbeat=0
        )
        return bound_calls(connection, timeout)


def task_headers(message_id: str, description: str, task: str = WRITE_TASK) -> dict[str, Any]:
    """The headers of Celery's task message protocol, version 2; the arguments are described, never shown."""
    return {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": description,
        "kwargsrepr": "{}",
        "origin": "aurea-celery",
        "ignore_result": True,
    }


def _task_body(arguments: list[str]) -> bytes:
    """The body of a task message, of which a batch is the one argument, a JSON text."""
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return msgspec.json.encode([arguments, {}, embed])
