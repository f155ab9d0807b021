"""``celery -A yourapp aurea writer``: a worker that consumes the writer's queue and nothing else."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from kombu import compression

from aurea_celery.delivery.broker import WRITE_TASK, metrics_queue
from aurea_celery.errors import ConfigurationError, DatabaseError
from aurea_celery.queue_look import unacked_key
from aurea_celery.settings import Settings, require_database_url
from aurea_celery.writer import settings_of, sources_of
from aurea_celery.writer_consumer import MetricsConsumer

if TYPE_CHECKING:
    from celery import Celery

PREFETCHED_MESSAGES = 4
LONGEST_RESTORE_SECONDS = 10


def run_worker(app: Celery, *, concurrency: int, loglevel: str) -> int:
    """Run the worker until it is told to stop; its exit status.

    On Redis its unacknowledged messages are kept under names of its own: the keys are shared by all consumers of a
    database, and a short visibility timeout there would hand out the host's long tasks a second time.

    Raises:
        ConfigurationError: If the plugin is not installed on the app, a URL cannot be read, or no database is named.
    """
    if WRITE_TASK not in app.tasks:
        raise ConfigurationError("the app has no aurea-celery plugin; add Aurea(app) to it")
    settings = settings_of(app)
    _check_broker_url(app)
    _look_at_database(require_database_url(settings), sources_of(app)["database_url"])
    # Not added: that would give it the host's default arguments, and the publishers declare it without.
    app.amqp.queues[settings.queue] = metrics_queue(settings)
    app.conf.accept_content = ["json"]
    app.conf.worker_detect_quorum_queues = True
    _refuse_compression()
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


def _check_broker_url(app: Celery) -> None:
    """Say so if the broker's URL cannot be read, before Celery does with a part of it in its words.

    Raises:
        ConfigurationError: If it cannot.
    """
    try:
        app.connection_for_read().transport_cls  # noqa: B018 - looked up by its name
    except Exception:
        raise ConfigurationError("the broker's URL cannot be read; check broker_url of your Celery app") from None


def _look_at_database(url: str, source: str) -> None:
    """Say at the start which database it is, and what would otherwise be heard when the first message comes.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """
    from aurea_celery.storage.database import address_of, check_database  # noqa: PLC0415 - heavy, only for the writer

    print(f"aurea: the writer writes to {address_of(url)} ({source})", file=sys.stderr)
    try:
        check_database(url)
    except DatabaseError as error:
        sentence = str(error).rstrip(".")
        print(f"aurea: {sentence}; the writer waits and tries again, nothing is lost", file=sys.stderr)


def _refuse_compression() -> None:
    """Make this process unpack nothing: our senders do not compress, and a small message may unpack to a huge one."""
    for name in compression.encoders():
        encoder: Any = compression.get_encoder(name)
        compression.register(encoder[0], _refuse, encoder[1])


def _refuse(_body: bytes) -> bytes:
    raise ValueError("compressed messages are not read here")
