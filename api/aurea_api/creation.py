"""The calls that write."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flask import Response, abort, request
from msgspec import Struct
from werkzeug.exceptions import BadRequest

from aurea_api import idempotence
from aurea_api.body import MIB, read_object
from aurea_api.calls import Services
from aurea_api.errors import Error
from aurea_api.metric_fields import EXAMPLE, SHOWN_CHARACTERS, Fields, metric_schema, read_fields, to_event
from aurea_api.parameters import NoQuery
from aurea_api.responses import json_response
from aurea_api.rows import Row
from aurea_celery.clock import Time, from_us
from aurea_celery.errors import EventConflict
from aurea_celery.storage import queries
from aurea_celery.storage.queries import Metric

MOST_BODY_BYTES, MOST_BATCH_BYTES = MIB, 4 * MIB
MOST_METRICS = 1000
MOST_ERRORS = 20


ERRORS = (410, 413, 415, 422)
"""The statuses of what is wrong with a body, or was posted before."""


class Created(Struct, frozen=True):
    """What was written."""

    message: str
    metric: Row


class CreatedLine(Struct, frozen=True, kw_only=True):
    """One metric of a batch: its id, its time, and what it cost."""

    event_id: str
    created_at: Time
    cost_estimate: Decimal
    cost_status: str
    unpriced_tokens: int


class CreatedBatch(Struct, frozen=True):
    """What was written, in the order of the request; ``count`` is how many metrics it had."""

    message: str
    count: int
    metrics: list[CreatedLine]


def batch_schema() -> dict[str, Any]:
    """The JSON schema of a batch."""
    metrics = {"type": "array", "minItems": 1, "maxItems": MOST_METRICS, "items": metric_schema()}
    return {
        "type": "object",
        "properties": {"metrics": metrics},
        "required": ["metrics"],
        "additionalProperties": False,
        "examples": [{"metrics": [EXAMPLE]}],
    }


def create_metric(services: Services, _: NoQuery) -> Response:
    """Write one execution that was measured elsewhere."""
    fields = read_fields(read_object(request, MOST_BODY_BYTES))
    (metric,), is_replayed = _write(services, [fields])
    return _answer(Created("Metric created", metric), is_replayed=is_replayed)


def create_metrics(services: Services, _: NoQuery) -> Response:
    """Write up to 1,000 executions that were measured elsewhere: all of them, or none if one is wrong."""
    given = _metrics_of(read_object(request, MOST_BATCH_BYTES))
    items, errors = _read_each(given)
    if errors:
        return json_response(Error(errors[0], errors[:MOST_ERRORS]), 400)
    metrics, is_replayed = _write(services, items)
    lines = [
        CreatedLine(event_id=str(one["event_id"]), **{name: one[name] for name in CreatedLine.__struct_fields__[1:]})
        for one in metrics
    ]
    return _answer(CreatedBatch("Metrics created", len(lines), lines), is_replayed=is_replayed)


def _metrics_of(body: dict[str, Any]) -> list[Any]:
    for name in body:
        if name != "metrics":
            abort(400, f"Unknown field: {name[:SHOWN_CHARACTERS]!a}")
    if "metrics" not in body:
        abort(400, "Missing required field: metrics")
    given = body["metrics"]
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_METRICS:
        abort(400, f"metrics must be a list of 1 to {MOST_METRICS} objects")
    return given


def _read_each(given: list[Any]) -> tuple[list[Fields], list[str]]:
    """The fields of each metric that is right, and the first error of each that is not."""
    items, errors = [], []
    for number, value in enumerate(given):
        try:
            items.append(read_fields(value, f"metrics[{number}]."))
        except BadRequest as error:
            errors.append(error.description or "")
    return items, errors


def _write(services: Services, items: list[Fields]) -> tuple[list[Metric], bool]:
    """Write metrics; the row of each, and whether all were there already."""
    digests = idempotence.identify(request, items)
    events = [to_event(fields) for fields in items]
    unique = {event.event_id: event for event in events}
    try:
        known = services.store.write(list(unique.values()), digests)
    except EventConflict as error:
        abort(422, _conflict(error))
    with services.store.connect() as connection:
        times = {name: from_us(event.ended_at_us) for name, event in unique.items()} | known
        rows = queries.first_rows(connection, times)
    if len(rows) < len(unique):
        abort(410, "this was posted and written before, and is not kept any more")
    return [rows[event.event_id] for event in events], len(known) == len(unique)


def _conflict(error: EventConflict) -> str:
    if idempotence.HEADER in request.headers:
        return f"something else was posted with this {idempotence.HEADER} before; send this with a key of its own"
    return str(error)


def _answer(created: Created | CreatedBatch, *, is_replayed: bool) -> Response:
    """The same for what was there already, but for a header."""
    response = json_response(created, 201)
    if is_replayed:
        response.headers[idempotence.REPLAYED] = "true"
    return response
