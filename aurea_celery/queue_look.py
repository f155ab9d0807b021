"""A look at the writer's queue from outside: how many messages wait there. Nothing is declared, taken or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Connection

AMQP_TRANSPORTS = frozenset({"amqp", "amqps", "pyamqp"})
REDIS_TRANSPORTS = frozenset({"redis", "rediss", "sentinel", "valkey", "valkeys"})
NOT_FOUND = "404"


def unacked_key(queue: str) -> str:
    """The key under which Redis keeps what was handed to a writer and is not acknowledged."""
    return f"{queue}.unacked"


def address_of(connection: Connection) -> str:
    """A broker's URL to show and to know it by: without its password, and without saying whether there is one.

    kombu puts the mask of a password also where there is none, or does not, by release.
    """
    return connection.as_uri().replace("//:**@", "//")


def bound_calls(connection: Connection, timeout_seconds: float) -> Connection:
    """Let no network call of a connection that is not open yet take longer; names of options differ by transport."""
    options: dict[str, Any] = connection.transport_options or {}
    connection.transport_options = {**options, **_bounds(connection.transport_cls, timeout_seconds)}
    return connection


def waiting_messages(connection: Connection, queue: str) -> int:
    """How many messages wait in a queue, and in the hands of writers that have not acknowledged them on Redis.

    On RabbitMQ the broker hands out again what a dead writer held, so that only what waits for a writer is counted.

    Raises:
        Exception: Whatever the transport raises if the broker does not answer.
    """
    channel: Any = connection.channel()
    handed_out = 0
    if connection.transport_cls in REDIS_TRANSPORTS:
        handed_out = int(channel.client.hlen(unacked_key(queue)))
    try:
        declared = channel.queue_declare(queue, passive=True)
    except connection.channel_errors as error:
        if str(getattr(error, "reply_code", None)) != NOT_FOUND:  # a number or a text, by the transport
            raise
        return handed_out  # an empty queue does not exist on Redis
    return handed_out + int(declared.message_count)


def _bounds(transport: Any, timeout_seconds: float) -> dict[str, Any]:
    once = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    if transport in AMQP_TRANSPORTS:
        return {**once, "read_timeout": timeout_seconds, "write_timeout": timeout_seconds, "confirm_publish": True}
    if transport in REDIS_TRANSPORTS:
        return {
            **once,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "retry_on_timeout": False,
        }
    return once
