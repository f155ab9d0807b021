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

import msgspec
from celery.worker.consumer import Consumer
from celery.worker.request import Request

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.broker import PRUNE_TASK, WRITE_TASK, Broker, task_headers
from aurea_celery.events import clean_text
from aurea_celery.writer import settings_of

if TYPE_CHECKING:
    from kombu import Message

HOLDS_PER_TIMEOUT = 4
"""How often within a visibility timeout the writer says that it still has its messages."""

MOST_RETURNS = 3
KEPT_CHARACTERS = 1024 * 1024
"""What is kept of a message that is not ours or that no process survives: far more than a batch usually has."""

_Blueprint: Any = Consumer.Blueprint

DESCRIPTIONS = {WRITE_TASK: "<events>", PRUNE_TASK: "()"}

NOT_OURS = "a message that is not one of ours came through the writer's queue; find out who publishes there"
DEADLY = "a batch ended the process that wrote it three times"


class WriterRequest(Request):
    """A batch at work, whose message may be acknowledged after its connection was lost: it is then handed out again.

    kombu's Redis transport wants to do that over a connection that it has forgotten, and Celery ends the worker for the
    ``AttributeError`` it gets. No batch may do that, neither to our worker nor to the host's.
    """

    def __init__(self, message: Message, *args: Any, **kwargs: Any) -> None:
        """Called by Celery for every message of the task."""
        super().__init__(message, *args, **kwargs)
        # Celery has bound the methods that call these; no other place is left.
        message.ack = _if_connected(message.ack)  # type: ignore[method-assign]  # of this one message
        message.reject = _if_connected(message.reject)  # type: ignore[method-assign]  # of this one message


class MetricsConsumer(Consumer):
    """A Celery consumer that runs our own two tasks, and keeps every other message instead of discarding it.

    Celery acknowledges what it cannot read, and runs any task of the app that somebody sends here. Both would be wrong:
    a message that calls none of the two is wrapped into one that the writer reads, rejects and keeps in
    ``metrics_rejected``. So is a batch that killed the process writing it each of three times, which Celery would hand
    out for ever.
    """

    class Blueprint(_Blueprint):  # type: ignore[misc]  # its stubs call it a variable
        """Without the 28 queues that Celery adds to quorum queues for tasks with a countdown; ours has none."""

        default_steps = tuple(one for one in _Blueprint.default_steps if not str(one).endswith(":DelayedDelivery"))

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
                message.headers = task_headers(_id_of(message), DESCRIPTIONS[task], task)
                message.reject = functools.partial(self._reject, message, message.reject)  # type: ignore[method-assign]  # of this one message
                run(message)
            else:
                self._keep(message, NOT_OURS)

        return on_message

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
        """Send a message on as the argument of our own task, then acknowledge it."""
        self._broker.send(_describe(message, why), 0)
        message.ack()
        log_once_a_minute(why, logging.ERROR, "aurea-celery: %s; it is kept in the table metrics_rejected", why)

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
    return str((message.headers or {}).get("id"))


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
    """A message that is not to be run, as a JSON text that no batch can be mistaken for."""
    raw: Any = message.body
    text = raw if isinstance(raw, str) else bytes(raw[: 4 * KEPT_CHARACTERS]).decode("utf-8", "replace")
    body = text[:KEPT_CHARACTERS].encode("utf-8", "replace").decode()
    task = clean_text((message.headers or {}).get("task"))
    described = {"why": why, "task": task, "content_type": clean_text(message.content_type), "body": body}
    return msgspec.json.encode({"foreign_message": described})
