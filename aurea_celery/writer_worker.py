"""``celery -A yourapp aurea writer``: a worker that consumes the writer's queue and nothing else."""

from __future__ import annotations

import logging
import os
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kombu import compression

from aurea_celery.delivery.broker import NO_EVENTS, WRITE_TASK, metrics_queue
from aurea_celery.errors import ConfigurationError, DatabaseError, MissingPackage
from aurea_celery.queue_look import unacked_key
from aurea_celery.settings import Settings, require_database_url
from aurea_celery.writer import settings_of, sources_of
from aurea_celery.writer_consumer import MetricsConsumer

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

PREFETCHED_MESSAGES = 4

OWN_OPTIONS: dict[str, Any] = {
    "accept_content": ["json"],
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_detect_quorum_queues": True,
    "worker_disable_prefetch": False,
    "worker_max_memory_per_child": None,
    "worker_max_tasks_per_child": None,
    "worker_state_db": None,
}
"""Options of Celery's that are the writer's own: what the host says of them is for its own workers."""
LONGEST_RESTORE_SECONDS = 10

SUPPORTED_BROKERS = {
    "redis": "Redis, Valkey or Redis Sentinel",
    "amqp": "RabbitMQ",
    "sqs": "Amazon SQS",
    "sql": "a database (SQLAlchemy)",
    "filesystem": "the file system",
}
"""Those that the writer was tried with, by what kombu calls their protocol; docs/brokers.md has what differs."""


def run_worker(app: Celery, *, concurrency: int, loglevel: str) -> int:
    """Run the worker until it is told to stop; its exit status.

    On Redis its unacknowledged messages are kept under names of its own: the keys are shared by all consumers of a
    database, and a short visibility timeout there would hand out the host's long tasks a second time.

    Raises:
        ConfigurationError: If the plugin is not installed on the app, a URL cannot be read, no database is named, the
            broker is not supported, or the queue is the host's own.
        MissingPackage: If a package that the broker needs is not installed.
    """
    if WRITE_TASK not in app.tasks:
        raise ConfigurationError("the app has no aurea-celery plugin; add Aurea(app) to it")
    settings = settings_of(app)
    if settings.queue == app.conf.task_default_queue:
        raise ConfigurationError(
            f"aurea_queue is {settings.queue!r}, the queue of the app's own tasks, which the writer would take; "
            "give aurea_queue another name"
        )
    if settings.broker_url:
        app.conf.update(broker_read_url=settings.broker_url)
    broker = _broker_kind(app)
    _look_at_database(require_database_url(settings), sources_of(app)["database_url"])
    # Not added: that would give it the host's default arguments, and the publishers declare it without.
    app.amqp.queues[settings.queue] = metrics_queue(settings)
    app.conf.update(OWN_OPTIONS)
    _refuse_compression()
    _be_silent_about_nothing()
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        **_redelivery_options(broker, settings),
    }
    worker = app.Worker(
        hostname=node_name(),
        queues=[settings.queue],
        concurrency=concurrency,
        loglevel=loglevel,
        pool_cls="prefork",
        consumer_cls=MetricsConsumer,
        prefetch_multiplier=PREFETCHED_MESSAGES,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _be_silent_about_nothing() -> None:
    """Keep Celery's two lines about each message out of the log where a message has no events.

    A worker of the host's that waits for budgets sends one every ten seconds, for as long as it has nothing to do.
    """
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(_has_events)


def _has_events(record: logging.LogRecord) -> bool:
    return not (isinstance(record.args, dict) and record.args.get("args") == NO_EVENTS)


def node_name() -> str:
    """Return a name that no other writer has."""
    return f"aurea-writer-{os.getpid()}-{os.urandom(4).hex()}@{socket.gethostname()}"


def _redelivery_options(broker: str, settings: Settings) -> dict[str, Any]:
    """When and under which keys Redis hands out a killed writer's messages again; others have no such options."""
    if broker != "redis":
        return {}
    return {
        "visibility_timeout": settings.writer_visibility_timeout_seconds,
        "unacked_key": unacked_key(settings.queue),
        "unacked_index_key": f"{settings.queue}.unacked_index",
        "unacked_mutex_key": f"{settings.queue}.unacked_mutex",
        "unacked_restore_interval": min(LONGEST_RESTORE_SECONDS, settings.writer_visibility_timeout_seconds),
        "unacked_restore_throttle": 1,
    }


def _broker_kind(app: Celery) -> str:
    """Return what kombu calls the broker's protocol.

    Raises:
        ConfigurationError: If the broker's URL cannot be read, before Celery says so with a part of it, or if such a
            broker is not supported.
        MissingPackage: If a package that the broker needs is not installed.
    """
    try:
        connection = app.connection_for_read()
        kind = str(connection.transport.driver_type)
        _import_driver(kind, connection)
    except ImportError as error:
        raise MissingPackage(f"a package that the broker needs is missing ({error}); install it") from None
    except Exception:
        raise ConfigurationError("the broker's URL cannot be read; check broker_url of your Celery app") from None
    if kind not in SUPPORTED_BROKERS:
        supported = ", ".join(SUPPORTED_BROKERS.values())
        raise ConfigurationError(f"a broker of the kind {kind!r} is not supported; use one of: {supported}")
    return kind


def _import_driver(kind: str, connection: Connection) -> None:
    """Import what kombu would import only when it connects, and what it does not install itself.

    Raises:
        Exception: Whatever the import raises, or SQLAlchemy if it cannot read the URL.
    """
    if kind == "sql":
        from sqlalchemy import make_url  # noqa: PLC0415 - heavy, and only for the process that writes

        make_url(str(connection.hostname)).get_dialect().import_dbapi()
    elif kind == "sqs":
        for name in ("boto3", "pycurl"):
            import_module(name)


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
