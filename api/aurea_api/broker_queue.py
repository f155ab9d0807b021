"""The writer's queue, as far as the API can see it."""

from __future__ import annotations

import threading
import time

from aurea_celery.queue_look import bound_calls, waiting_messages
from aurea_celery.settings import Settings

LOOK_TIMEOUT_SECONDS = 1.0
LOOK_KEPT_SECONDS = 5.0


class Queue:
    """The writer's queue, if the environment names its broker (``AUREA_BROKER_URL``). Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.queue
        self._url = settings.broker_url
        self._lock = threading.Lock()
        self._messages: int | None = None
        self._looked_at = float("-inf")

    def messages(self) -> int | None:
        """How many messages wait, a few seconds ago at most; None if no broker is named, or it does not answer."""
        if not self._url:
            return None
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_KEPT_SECONDS:
                self._messages = self._look()
                self._looked_at = time.monotonic()
            return self._messages

    def _look(self) -> int | None:
        from kombu import Connection  # noqa: PLC0415 - only an API that is told of a broker needs it

        try:
            with Connection(self._url, connect_timeout=LOOK_TIMEOUT_SECONDS) as connection:
                return waiting_messages(bound_calls(connection, LOOK_TIMEOUT_SECONDS), self.name)
        except Exception:  # the transports' errors share no base class; that the broker is away is no fault of ours
            return None
