"""The body of ``POST /metrics``: read strictly, with every number exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from flask import Request, abort

from aurea_celery.clock import new_event_id, now_us
from aurea_celery.events import TEXT_MAX_CHARACTERS, ModelCall, TaskEvent, Usage

MAX_BODY_BYTES = 1024 * 1024
MAX_COUNT = 2**53 - 1
MAX_LATENCY_MS = Decimal(2**53 - 1) / 1000
MAX_USD = Decimal(10) ** 15
MAX_DECIMAL_PLACES = 400  # more than the shortest form of any double has, and far from NUMERIC's limit
SHOWN_CHARACTERS = 50


def read_event(request: Request) -> TaskEvent:
    """The execution that a request describes.

    Raises:
        werkzeug.exceptions.HTTPException: 400, 413 or 415, with a sentence that names the field.
    """
    if not request.is_json:
        abort(415, "the body must be JSON; send it with Content-Type: application/json")
    fields = _read_object(_read_body(request))
    for name in FIELDS:
        if name not in fields and name != "cost_estimate":
            abort(400, f"Missing required field: {name}")
    for name in fields:
        if name not in FIELDS:
            abort(400, f"Unknown field: {name[:SHOWN_CHARACTERS]!a}")
    return _event(**{name: FIELDS[name](name, value) for name, value in fields.items()})


def _event(
    *,
    job_id: str,
    task_name: str,
    model_used: str,
    token_count: int,
    latency_ms: Decimal,
    cost_estimate: Decimal | None = None,
) -> TaskEvent:
    """An execution that ends now; latency is kept to the microsecond."""
    ended_at_us, latency_us = now_us(), round(latency_ms * 1000)
    call = ModelCall(usage=Usage(total_tokens=token_count), model=model_used, cost_usd=cost_estimate)
    return TaskEvent(
        event_id=new_event_id(),
        job_id=job_id,
        task_name=task_name,
        status="success",
        started_at_us=max(ended_at_us - latency_us, 0),
        ended_at_us=ended_at_us,
        latency_us=latency_us,
        calls=(call,),
    )


def _read_body(request: Request) -> bytes:
    # One byte more than allowed: a body without a length is cut off at this limit, not refused.
    request.max_content_length = MAX_BODY_BYTES + 1
    body = request.get_data()
    if len(body) > MAX_BODY_BYTES:
        abort(413)
    return body


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):
        abort(400, "the body is not JSON; send one object")
    if not isinstance(value, dict):
        abort(400, "the body must be a JSON object")
    return value


def _name(field: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_MAX_CHARACTERS or not _is_storable(value):
        abort(400, f"{field} must be a text of 1 to {TEXT_MAX_CHARACTERS} characters without NUL or lone surrogates")
    return value


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _count(field: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        abort(400, f"{field} must be a whole number from 0 to {MAX_COUNT}")
    return value


def _latency_ms(field: str, value: Any) -> Decimal:
    if not _is_number(value) or not 0 <= value <= MAX_LATENCY_MS:
        abort(400, f"{field} must be a number from 0 to {MAX_LATENCY_MS}")
    return Decimal(value)


def _usd(field: str, value: Any) -> Decimal:
    if not _is_number(value) or not 0 <= value <= MAX_USD or _decimal_places(value) > MAX_DECIMAL_PLACES:
        abort(400, f"{field} must be a number from 0 to {MAX_USD} in USD; leave it out to have it priced")
    return Decimal(value)


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, Decimal) and value.is_finite())


def _decimal_places(value: int | Decimal) -> int:
    return -int(Decimal(value).as_tuple().exponent)


FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "job_id": _name,
    "task_name": _name,
    "model_used": _name,
    "token_count": _count,
    "latency_ms": _latency_ms,
    "cost_estimate": _usd,
}
"""The document's fields in its order, and how each is read; ``cost_estimate`` may be left out."""
