"""``GET /health``: whether the API can answer, and whether what it answers is up to date."""

from __future__ import annotations

import threading
import time
from typing import Any

import sqlalchemy as sa
from flask import Response

from aurea_api.responses import json_response
from aurea_api.store import Store
from aurea_celery._version import __version__
from aurea_celery.errors import DatabaseError, SchemaMismatch
from aurea_celery.price_lists import list_prices
from aurea_celery.queue_look import bound_calls, waiting_messages
from aurea_celery.settings import Settings
from aurea_celery.storage.prices import edition_name
from aurea_celery.storage.pulse import Pulse, read_pulse

LOOK_TIMEOUT_SECONDS = 1.0
LOOK_KEPT_SECONDS = 5.0
MOST_STATEMENT_SECONDS = 2


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


def health(store: Store, queue: Queue) -> Response:
    """200 if the database answers and has the tables of this release, however late the rows come; else 503."""
    try:
        with store.connect() as connection:
            connection.execute(sa.text(f"SET LOCAL statement_timeout = '{MOST_STATEMENT_SECONDS}s'"))
            pulse = read_pulse(connection)
            listed = list_prices(edition_name(connection))
    except DatabaseError as error:
        part, sentence = "database", "the database does not answer; check that it runs"
        if isinstance(error, SchemaMismatch):
            part, sentence = "schema", str(error)
        return json_response({"status": "unhealthy", "failing": part, "error": sentence}, 503)
    parts = {"status": "healthy", "database": "ok", "schema": "ok", "version": __version__}
    prices = {"list_prices": {"edition": listed.edition, "age_days": listed.age_days}}
    return json_response(parts | _pipeline(pulse, queue.messages(), queue.name) | prices)


def _pipeline(pulse: Pulse, messages: int | None, queue: str) -> dict[str, Any]:
    """What is known of the way from the workers to the database, and what is wrong with it."""
    problem = pulse.problem(messages, queue)
    return {
        "pipeline": "degraded" if problem else "ok",
        "problem": problem,
        "writer": pulse.writer(messages),
        "last_write": pulse.last_write,
        "backlog": pulse.backlog,
        "oldest_event_seconds": pulse.oldest_event_seconds,
        "queue_messages": messages,
    }
