"""The broker that the example is given, if it is given one."""

from __future__ import annotations

import redis

from worker_example.errors import ExampleError

BROKER_SECONDS = 3.0


def check_broker(url: str | None) -> None:
    """Make sure that the example can use the broker it is given.

    Raises:
        ExampleError: If not.
    """
    if not url:
        return
    if not url.startswith(("redis://", "rediss://")):
        raise ExampleError("BROKER_URL must start with redis:// here: the example keeps its chords' results there too")
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=BROKER_SECONDS, socket_timeout=BROKER_SECONDS) as broker:
            broker.ping()
    except (redis.RedisError, ValueError):
        raise ExampleError(
            "the broker at BROKER_URL does not answer; start it, or unset BROKER_URL", status=1
        ) from None
