"""``GET /health``: whether the API can answer, and whether what it answers is up to date."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Response

from aurea_api.calls import Services
from aurea_api.parameters import NoQuery
from aurea_api.responses import json_response
from aurea_celery._version import __version__
from aurea_celery.errors import DatabaseError, SchemaMismatch
from aurea_celery.price_lists import list_prices
from aurea_celery.storage.prices import edition_name
from aurea_celery.storage.pulse import Pulse, read_pulse

MOST_STATEMENT_SECONDS = 2


def health(services: Services, _: NoQuery) -> Response:
    """200 if the database answers and has the tables of this release, however late the rows come; else 503."""
    try:
        with services.store.connect() as connection:
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
    return json_response(parts | _pipeline(pulse, services.queue.messages(), services.queue.name) | prices)


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
