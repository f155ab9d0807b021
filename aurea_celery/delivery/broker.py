"""The publisher's own connection to the broker.

The app's producer pool is never used: it is shared with the host's own publishing, has no time limit on a frozen
Redis, and passes through every signal handler of the host. Here each network call ends within
``aurea_broker_timeout_seconds``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from kombu import Producer, Queue

from aurea_celery._guard import log_once_a_minute
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
EXPIRING_DRIVERS = frozenset({"amqp", "redis"})
"""Where a queue goes away by itself some time after its process."""

FORGETFUL_DRIVERS = frozenset({"filesystem", "sql"})
"""Where a message is lost with the consumer that has it, so that receipts matter. Their queue is emptied at the end."""

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0


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


class _Receipts:
    """Whether receipts are asked for: not for a while where their queue fails although what was sent has arrived.

    They are an optimisation, and nothing that goes wrong with them keeps anything from being sent.
    """

    def __init__(self, queue: str | None) -> None:
        self._queue = queue
        self._has_failed = False
        self._off_until = 0.0
        self._pause_seconds = FIRST_PAUSE_SECONDS

    @property
    def queue(self) -> str | None:
        """Where they come to; None while they are not asked for."""
        return None if time.monotonic() < self._off_until else self._queue

    def give_up(self) -> None:
        """Never ask for them here."""
        self._queue = None

    def note_answer(self) -> None:
        """Note that the queue can be used."""
        self._has_failed, self._pause_seconds = False, FIRST_PAUSE_SECONDS

    def note_failure(self, error: Exception) -> None:
        """Note that the queue could not be used; the broker itself may be away."""
        self._has_failed = True
        self._error = type(error).__name__

    def note_sending(self, *, is_sent: bool) -> None:
        """Note whether the broker took a message; if it did after a failure of the queue, the queue is to blame."""
        if self._has_failed and is_sent:
            self._off_until = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
            log_once_a_minute(
                "receipts",
                logging.WARNING,
                "aurea-celery: cannot use the queue for receipts %s (%s); events are sent without, and no budget is "
                "enforced. Allow it to be made and read, or set aurea_keep_sent_seconds to 0",
                self._queue,
                self._error,
            )
        self._has_failed = False


class Broker:
    """Sends what the writer is to do, and takes and sends receipts. Used by one thread at a time.

    ``receipts`` is the queue that receipts come to; None if they are not asked for.
    """

    def __init__(self, app: Celery, settings: Settings, receipts: str | None = None) -> None:
        self._receipts = _Receipts(receipts)
        self._known_queues: set[str] = set()
        self._app = app
        self._settings = settings
        self._queue = metrics_queue(settings)
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    @property
    def reply_to(self) -> str | None:
        """Where receipts are asked for; None if they are not, or cannot be."""
        return self._receipts.queue

    def open_receipts(self) -> str | None:
        """Make sure that receipts can come before the first is asked for; where to, None if they cannot.

        Raises:
            Exception: Whatever the transport raises if the broker is away; a failure of the queue is none.
        """
        if self.reply_to is None:
            return None
        try:
            driver = self._driver
        except BaseException:
            self.close()
            raise
        if driver not in EXPIRING_DRIVERS | FORGETFUL_DRIVERS:
            self._receipts.give_up()
            return None
        try:
            self._declared(self.reply_to)
        except Exception as error:
            self.close()
            self._receipts.note_failure(error)
            return None
        return self.reply_to

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
            self._receipts.note_sending(is_sent=False)
            self.close()
            raise
        self._receipts.note_sending(is_sent=True)
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
            bodies = [message.body for message in iter(lambda: queue.get(no_ack=True), None)]
            self._receipts.note_answer()
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                self._receipts.note_failure(error)
            raise
        return read_answers(bodies)

    def answer(self, reply_to: str, answer: object) -> None:
        """Send the receipt of a batch, and what else was asked for.

        Raises:
            Exception: Whatever the transport raises.
        """
        try:
            if self._driver != "amqp":  # there the queue keeps its time itself, and its reader has made it
                self._declared(reply_to)
            # Encoded here: what the app has made of its serializers, or allows of them, does not matter.
            self._connected().publish(
                msgspec.json.encode(answer),
                exchange="",
                routing_key=reply_to,
                content_type="application/json",
                content_encoding="utf-8",
                retry=False,
            )
        except BaseException:
            self.close()
            raise

    @property
    def _driver(self) -> str:
        """What kind of broker this is, as kombu names it."""
        connection: Any = self._connected().connection
        return str(connection.transport.driver_type)

    def remove_receipts(self) -> None:
        """Empty the queue for receipts where it does not go away by itself; for the end of a process."""
        if self.reply_to not in self._known_queues:
            return
        with contextlib.suppress(Exception):  # what is left there then is a few receipts that nobody reads
            if self._driver in FORGETFUL_DRIVERS:
                queue = self._declared(self.reply_to)
                queue.purge()
                queue.delete()

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
