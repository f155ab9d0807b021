"""What takes the messages of the writer's queue: calls of our tasks go to the pool, and everything else is kept.

Whoever can publish at the broker can put anything into the queue. Nothing of it may end the worker, block the queue,
run a task of the host, or be loaded as anything but JSON.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.broker import NO_EVENTS, PRUNE_TASK, WRITE_TASK, Broker, task_headers
from aurea_celery.events import clean_text
from aurea_celery.foreign import describe
from aurea_celery.writer import settings_of
from aurea_celery.writer_steps import WriterBlueprint

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Message

logger = logging.getLogger("aurea_celery")

HOLDS_PER_TIMEOUT = 4
"""How often within a visibility timeout the writer says that it still has its messages."""

MOST_RETURNS = 3
JSON_ONLY = frozenset({"application/json"})

DESCRIPTIONS = {WRITE_TASK: "<events>", PRUNE_TASK: "()"}
"""What a log shows in place of arguments, which may come from anybody."""

NOT_OURS = "a message that is not one of ours came through the writer's queue; find out who publishes there"
DEADLY = "a batch ended the process that wrote it three times"


def take_as_json(task: Any, app: Celery, consumer: Consumer, **options: Any) -> Callable[..., Any]:
    """Return what takes the messages of our tasks: they are JSON, whatever else the host's ``accept_content`` allows.

    Called by Celery, also in a worker of the host's that consumes our queue.
    """
    take: Callable[..., Any] = default_strategy(task, app, consumer, **options)

    def take_message(message: Message, *args: Any, **kwargs: Any) -> Any:
        message.accept = JSON_ONLY
        return take(message, *args, **kwargs)

    return take_message


class WriterRequest(Request):
    """A batch at work, read here: the pool's process would read it by the host's ``accept_content``.

    Its message may be acknowledged after its connection was lost: it is then handed out again.
    kombu's Redis transport wants to do that over a connection that it has forgotten, and Celery ends the worker for the
    ``AttributeError`` it gets. No batch may do that, neither to our worker nor to the host's.
    """

    def __init__(self, message: Message, *args: Any, **kwargs: Any) -> None:
        """Called by Celery for every message of the task."""
        if not kwargs.get("decoded"):
            kwargs |= {"body": message.payload, "decoded": True}
        super().__init__(message, *args, **kwargs)
        self.received_at = time.monotonic()
        # Celery has bound the methods that call these; no other place is left.
        message.ack = _if_connected(message.ack)  # type: ignore[method-assign]  # of this one message
        message.reject = _if_connected(message.reject)  # type: ignore[method-assign]  # of this one message


class MetricsConsumer(Consumer):
    """A Celery consumer that runs our own two tasks, and keeps every other message instead of discarding it.

    Celery acknowledges what it cannot read, and runs any task of the app that somebody sends here. Both would be wrong:
    of a message that calls none of the two a description is sent on, which the writer reads, rejects and keeps in
    ``metrics_rejected``. So is a batch that killed the process writing it each of three times, which Celery would hand
    out for ever.
    """

    Blueprint = WriterBlueprint
    event_dispatcher = None
    _holding: Any = None

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """Called by Celery, after each connect, for the function that takes every message."""
        run = super().create_task_handler(*args, **kwargs)
        connection: Any = self.connection
        if connection.transport.driver_type == "redis":
            self._hold_regularly()
            _survive_garbage(self.task_consumer.channel)  # type: ignore[attr-defined]  # its stubs leave it out

        def on_message(message: Message) -> None:
            task = _task_of(message)
            if task is not None:
                # Celery need not understand the sender's.
                is_empty = message.headers.get("argsrepr") == NO_EVENTS
                description = NO_EVENTS if is_empty else DESCRIPTIONS[task]
                message.headers = task_headers(_id_of(message), description, task)
                message.reject = functools.partial(self._reject, message, message.reject)  # type: ignore[method-assign]  # of this one message
                run(message)
            else:
                self._keep(message, NOT_OURS)

        return on_message

    def add_task_queue(self, queue: object, *_: Any, **__: Any) -> None:  # type: ignore[override]  # nothing is added
        """Called by whoever wants a worker to consume another queue: the host's tasks there are for its own workers."""
        logger.error("aurea-celery: the writer does not consume %s; it takes its own queue alone", queue)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Called by Celery for a message that cannot even be unpacked; it would log the body and acknowledge."""
        self._keep(message, NOT_OURS)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Called by Celery to leave a broken connection, before it makes a new one."""
        # Celery 5.7 closes the connection twice. The second time kombu's Redis transport wants to give back what is
        # unacknowledged over a connection that it has forgotten, and the worker would end. The broker gives it back
        # itself after the visibility timeout.
        with contextlib.suppress(AttributeError):
            super().on_connection_error_after_connected(exc)

    def _reject(self, message: Message, reject: Callable[..., None], requeue: bool = False) -> None:
        """Give a batch back whose process died, but not for ever."""
        self._returns[_id_of(message)] += 1
        if requeue and self._returns[_id_of(message)] < MOST_RETURNS:
            reject(requeue=True)
        else:
            del self._returns[_id_of(message)]
            self._keep(message, DEADLY)

    def _keep(self, message: Message, why: str) -> None:
        """Send the description of a message on as the argument of our own task, then acknowledge it."""
        self._broker.send(_describe(message, why), 0)
        message.ack()
        log_once_a_minute(why, logging.ERROR, "aurea-celery: %s; metrics_rejected says what is known of it", why)

    def _hold_regularly(self) -> None:
        """Tell Redis again and again that this writer still has its messages.

        Otherwise every batch that takes longer than the visibility timeout would be handed out a second time: because
        it is slow, because it waits for the database, or because those before it do.
        """
        if self._holding is not None:
            self._holding.cancel()
        seconds = settings_of(self.app).writer_visibility_timeout_seconds / HOLDS_PER_TIMEOUT
        self._holding = self.timer.call_repeatedly(seconds, self._hold)

    def _hold(self) -> None:
        """Renew the time of the messages that are handed out to this writer, and of no others."""
        channel: Any = self.task_consumer.channel  # type: ignore[attr-defined]  # its stubs leave it out
        held = dict.fromkeys(tuple(channel.qos._delivered), time.time())
        if held:
            with channel.conn_or_acquire() as client:
                client.zadd(channel.unacked_index_key, held, xx=True)  # what is done meanwhile does not come back

    @functools.cached_property
    def _returns(self) -> Counter[str]:
        """How often batches were given back."""
        return Counter()

    @functools.cached_property
    def _broker(self) -> Broker:
        return Broker(self.app, settings_of(self.app))


def _if_connected(answer: Callable[..., None]) -> Callable[..., None]:
    """An answer to the broker that is not given when its connection is gone."""

    def answer_if_connected(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(AttributeError):
            answer(*args, **kwargs)

    return answer_if_connected


def _task_of(message: Message) -> str | None:
    """Which of our tasks a message calls, with nothing that is to follow: a batch to write, one text, or to prune.

    What is to be pruned is the writer's own setting. A message says nothing of it, for anybody can send one.
    """
    try:
        arguments, named, embed = message.payload
        is_alone = not named and not any(embed.values())
    except Exception:  # whatever a foreign message makes a decoder raise, it is not ours
        return None
    task = (message.headers or {}).get("task")
    if task == WRITE_TASK:
        is_ours = is_alone and len(arguments) == 1 and isinstance(arguments[0], str)
    else:
        is_ours = is_alone and task == PRUNE_TASK and arguments == []
    return task if is_ours else None


def _id_of(message: Message) -> str:
    """What tells a message from others with the same body, also when it comes again; empty if nothing does.

    RabbitMQ's delivery tag does not: it is a number that counts what a connection was given.
    """
    headers, properties = message.headers or {}, message.properties or {}
    known = (headers.get("id"), properties.get("message_id"), properties.get("correlation_id"), message.delivery_tag)
    return next((clean_text(one) for one in known if one and isinstance(one, str)), "")


def _survive_garbage(channel: Any) -> None:
    """Let kombu's Redis transport go on after an entry of the queue that is no message; it would end the worker."""
    read = channel.handlers["BRPOP"]

    def read_or_skip(**options: Any) -> Any:
        try:
            return read(**options)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log_once_a_minute(
                "garbage",
                logging.ERROR,
                "aurea-celery: something that is no message was in the writer's queue (%s), and is dropped. "
                "Find out who writes there",
                type(error).__name__,
            )
            return True

    channel.handlers["BRPOP"] = read_or_skip


def _describe(message: Message, why: str) -> bytes:
    headers = message.headers or {}
    batch = next(iter(message.payload[0]), None) if why == DEADLY else None
    return describe(why, headers.get("task"), _id_of(message) or None, message.body, batch)
