"""The call that writes."""

from __future__ import annotations

from flask import request
from msgspec import Struct

from aurea_api.body import read_event
from aurea_api.calls import Services
from aurea_api.parameters import NoQuery
from aurea_api.rows import Row
from aurea_celery.clock import from_us
from aurea_celery.storage import queries


class Created(Struct, frozen=True):
    """What was written."""

    message: str
    metric: Row


def create_metric(services: Services, _: NoQuery) -> Created:
    """Write one execution that was measured elsewhere."""
    event = read_event(request)
    services.store.write(event)
    with services.store.connect() as connection:
        rows = queries.event_rows(connection, event.event_id, from_us(event.ended_at_us))
    return Created("Metric created", rows[0])
