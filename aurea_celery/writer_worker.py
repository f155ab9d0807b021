"""``celery -A yourapp aurea writer``: a worker that consumes the writer's queue and nothing else."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from celery.worker.consumer import Consumer
from celery.worker.request import Request

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.broker import WRITE_TASK, Broker, metrics_queue
from aurea_celery.errors import ConfigurationError, DatabaseError
from aurea_celery.queue_look import unacked_key
from aurea_celery.settings import Settings, require_database_url
from aurea_celery.writer import settings_of

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Message

logger = logging.getLogger("aurea_celery")

PREFETCHED_MESSAGES = 4
LONGEST_RESTORE_SECONDS = 10


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
    """A Celery consumer that runs batches of events, and keeps every other message instead of discarding it.

    Celery acknowledges what it cannot read, and runs any task of the app that somebody sends here. Both would be wrong:
    a message that is not a batch is wrapped into one that the writer reads, rejects and keeps in ``metrics_rejected``.
    """

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """Called by Celery for the function that takes every message."""
        run = super().create_task_handler(*args, **kwargs)

        def on_message(message: Message) -> None:
            if _is_batch(message):
                run(message)
            else:
                self._keep(message)

        return on_message

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Called by Celery to leave a broken connection, before it makes a new one."""
        # Celery 5.7 closes the connection twice. The second time kombu's Redis transport wants to give back what is
        # unacknowledged over a connection that it has forgotten, and the worker would end. The broker gives it back
        # itself after the visibility timeout.
        with contextlib.suppress(AttributeError):
            super().on_connection_error_after_connected(exc)

    def _keep(self, message: Message) -> None:
        """Send a message on as the argument of our own task, then acknowledge it."""
        self._broker.send(_describe(message), 0)
        message.ack()
        log_once_a_minute(
            "not_ours",
            logging.ERROR,
            "aurea-celery: a message that is not one of ours came through the writer's queue; it is kept in the table "
            "metrics_rejected. Find out who publishes there",
        )

    @functools.cached_property
    def _broker(self) -> Broker:
        return Broker(self.app, settings_of(self.app))


def run_worker(app: Celery, *, concurrency: int, loglevel: str) -> int:
    """Run the worker until it is told to stop; its exit status.

    On Redis its unacknowledged messages are kept under names of its own: the keys are shared by all consumers of a
    database, and a short visibility timeout there would hand out the host's long tasks a second time.

    Raises:
        ConfigurationError: If the plugin is not installed on the app, or no database is named.
    """
    if WRITE_TASK not in app.tasks:
        raise ConfigurationError("the app has no aurea-celery plugin; add Aurea(app) to it")
    settings = settings_of(app)
    _warn_about_database(settings.database_url or require_database_url())
    # Not added: that would give it the host's default arguments, and the publishers declare it without.
    app.amqp.queues[settings.queue] = metrics_queue(settings)
    app.conf.accept_content = ["json"]
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **_redelivery_options(settings)}
    worker = app.Worker(
        hostname=node_name(),
        queues=[settings.queue],
        concurrency=concurrency,
        loglevel=loglevel,
        pool_cls="prefork",
        consumer_cls=MetricsConsumer,
        prefetch_multiplier=PREFETCHED_MESSAGES,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def node_name() -> str:
    """A name that no other writer has: RabbitMQ refuses a second one whose control queue has the same."""
    return f"aurea-writer-{os.getpid()}-{os.urandom(4).hex()}@{socket.gethostname()}"


def _redelivery_options(settings: Settings) -> dict[str, Any]:
    """When and under which keys Redis hands out a killed writer's messages again."""
    return {
        "visibility_timeout": settings.writer_visibility_timeout_seconds,
        "unacked_key": unacked_key(settings.queue),
        "unacked_index_key": f"{settings.queue}.unacked_index",
        "unacked_mutex_key": f"{settings.queue}.unacked_mutex",
        "unacked_restore_interval": min(LONGEST_RESTORE_SECONDS, settings.writer_visibility_timeout_seconds),
        "unacked_restore_throttle": 1,
    }


def _warn_about_database(url: str) -> None:
    """Say at the start what would otherwise be heard when the first message comes.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """
    from aurea_celery.storage.database import check_database  # noqa: PLC0415 - heavy, and only for the process that writes

    try:
        check_database(url)
    except DatabaseError as error:
        sentence = str(error).rstrip(".")
        print(f"aurea: {sentence}; the writer waits and tries again, nothing is lost", file=sys.stderr)


def _if_connected(answer: Callable[..., None]) -> Callable[..., None]:
    """An answer to the broker that is not given when its connection is gone."""

    def answer_if_connected(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(AttributeError):
            answer(*args, **kwargs)

    return answer_if_connected


def _is_batch(message: Message) -> bool:
    """Whether a message is a call of the writer's task with one text."""
    try:
        (batch,), named, _ = message.payload
    except Exception:  # whatever a foreign message makes a decoder raise, it is not ours
        return False
    return (message.headers or {}).get("task") == WRITE_TASK and isinstance(batch, str) and not named


def _describe(message: Message) -> bytes:
    """A foreign message as a JSON text that no batch can be mistaken for."""
    raw: Any = message.body
    body = raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "replace")
    task = (message.headers or {}).get("task")
    described = {"task": str(task), "content_type": str(message.content_type), "body": body}
    return msgspec.json.encode({"foreign_message": described})
