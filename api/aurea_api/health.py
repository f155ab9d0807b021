"""``GET /health``: whether the API can answer, and whether what it answers is up to date."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from flask import Response, request
from msgspec import UNSET, Struct, UnsetType

from aurea_api.calls import Services
from aurea_api.parameters import NoQuery
from aurea_api.responses import json_response
from aurea_celery._version import __version__
from aurea_celery.clock import Time
from aurea_celery.errors import DatabaseError, SchemaMismatch
from aurea_celery.price_lists import list_prices
from aurea_celery.storage.prices import edition_without_data
from aurea_celery.storage.pulse import read_pulse

MOST_STATEMENT_SECONDS = 2


class ListPrices(Struct, frozen=True):
    """Which list prices apply, and how many days old they are at most."""

    edition: str
    age_days: int | None


class Health(Struct, frozen=True, kw_only=True):
    """Whether the API can answer, and whether what it answers is up to date; a stranger is told the status alone."""

    status: Literal["healthy", "unhealthy"]
    failing: Literal["database", "schema"] | UnsetType = UNSET
    error: str | UnsetType = UNSET
    database: Literal["ok"] | UnsetType = UNSET
    schema: Literal["ok"] | UnsetType = UNSET
    version: str | UnsetType = UNSET
    pipeline: Literal["ok", "degraded"] | UnsetType = UNSET
    problem: str | UnsetType | None = UNSET
    writer: str | UnsetType = UNSET
    last_write: Time | UnsetType | None = UNSET
    backlog: int | UnsetType = UNSET
    oldest_event_seconds: float | UnsetType | None = UNSET
    queue_messages: int | UnsetType | None = UNSET
    list_prices: ListPrices | UnsetType = UNSET


def health(services: Services, _: NoQuery) -> Response:
    """Whether the API can answer: 200 if the database does and has the tables of this release, else 503."""
    found = _look(services)
    shown = found if services.doors.knows(request) else Health(status=found.status)
    return json_response(shown, 200 if found.status == "healthy" else 503)


def _look(services: Services) -> Health:
    try:
        with services.store.probe() as connection:
            connection.execute(sa.text(f"SET LOCAL statement_timeout = '{MOST_STATEMENT_SECONDS}s'"))
            pulse = read_pulse(connection)
            listed = list_prices(edition_without_data(connection))
    except SchemaMismatch as error:
        return Health(status="unhealthy", failing="schema", error=str(error))
    except DatabaseError:
        return Health(status="unhealthy", failing="database", error="the database does not answer; check that it runs")
    messages = services.queue.messages()
    problem = pulse.problem(messages, services.queue.name)
    return Health(
        status="healthy",
        database="ok",
        schema="ok",
        version=__version__,
        pipeline="degraded" if problem else "ok",
        problem=problem,
        writer=pulse.writer(messages),
        last_write=pulse.last_write,
        backlog=pulse.backlog,
        oldest_event_seconds=pulse.oldest_event_seconds,
        queue_messages=messages,
        list_prices=ListPrices(listed.edition, listed.age_days),
    )
