"""A metric as a client describes it, read strictly, with every number exact: the fields and what each may be.

Apart from the document's own, a field has the name of the column of ``metrics`` that it becomes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from flask import abort

from aurea_celery.clock import EPOCH, Time, new_event_id, now_us, to_us
from aurea_celery.errors import UsageError
from aurea_celery.events import STATUSES, TEXT_MAX_CHARACTERS, ModelCall, TaskEvent, Usage

MAX_COUNT = 2**53 - 1
MAX_LATENCY_MS = Decimal(2**53 - 1) / 1000
MAX_USD = Decimal(10) ** 15
MAX_DECIMAL_PLACES = 400  # more than the shortest form of any double has, and far from NUMERIC's limit
MAX_TAGS = 50
MAX_AHEAD = timedelta(days=1)  # of our clock; a year that is wrong would be kept for as long
SHOWN_CHARACTERS = 50
EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T.*")

Fields = dict[str, Any]
"""The fields of a metric, each read."""


def read_fields(value: Any, place: str = "") -> Fields:
    """The fields of a metric that was sent as JSON; ``place`` is where it stands, as ``metrics[3].``.

    Raises:
        werkzeug.exceptions.BadRequest: With a sentence that names the first field that is missing, unknown or wrong.
    """
    if not isinstance(value, dict):
        abort(400, f"{place.removesuffix('.') or 'the body'} must be a JSON object")
    for name in REQUIRED:
        if name not in value and not (name == "token_count" and PARTS.issubset(value)):
            abort(400, f"Missing required field: {place}{name}")
    for name in value:
        if name not in FIELDS:
            abort(400, f"Unknown field: {place + name[:SHOWN_CHARACTERS]!a}")
    fields = {name: FIELDS[name](place + name, one) for name, one in value.items()}
    return fields | {"usage": _usage(fields, place)}


def to_event(fields: Fields) -> TaskEvent:
    """The execution that fields describe; it ends now, unless they say when. Latency is kept to the microsecond."""
    ended_at_us = to_us(fields["created_at"]) if "created_at" in fields else now_us()
    latency_us = round(fields["latency_ms"] * 1000)
    call = ModelCall(
        usage=fields["usage"],
        model=fields["model_used"],
        provider=fields.get("provider_name"),
        service_tier=fields.get("service_tier"),
        cost_usd=fields.get("cost_estimate"),
    )
    return TaskEvent(
        event_id=fields.get("event_id") or new_event_id(),
        job_id=fields["job_id"],
        task_name=fields["task_name"],
        status=fields.get("status", "success"),
        error_type=fields.get("error_type"),
        started_at_us=max(ended_at_us - latency_us, 0),
        ended_at_us=ended_at_us,
        latency_us=latency_us,
        tags=fields.get("tags", {}),
        calls=(call,),
    )


def _usage(fields: Fields, place: str) -> Usage:
    """The tokens: only their number, or input and output apart, and what of these was cached, reasoning or audio."""
    counts = {name: fields[name] for name in TOKEN_PARTS if name in fields}
    if not counts:
        return Usage(total_tokens=fields["token_count"])
    for name in sorted(PARTS.difference(counts)):
        abort(400, f"Missing required field: {place}{name}")
    total = counts["input_tokens"] + counts["output_tokens"]
    if fields.get("token_count", total) != total:
        abort(400, f"{place}token_count must be input_tokens + output_tokens; it may be left out beside them")
    try:
        return Usage(**counts)
    except UsageError as error:
        return abort(400, f"{place}{error}")


def _name(field: str, value: Any) -> str:
    if not _is_text(value) or not value:
        abort(400, f"{field} must be a text of 1 to {TEXT_MAX_CHARACTERS} characters without NUL or lone surrogates")
    return str(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX_CHARACTERS and _is_storable(value)


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


def _event_id(field: str, value: Any) -> str:
    if not isinstance(value, str) or not EVENT_ID.fullmatch(value):
        abort(400, f"{field} must be a UUID, such as 01a20b85-6d38-70ee-8e3c-09e6e04e2290")
    return value.lower()


def _created_at(field: str, value: Any) -> datetime:
    must = f"{field} must be a time with its zone, such as 2026-11-24T09:15:02Z, from 1970 to a day from now"
    if not isinstance(value, str) or not TIME.fullmatch(value):
        abort(400, must)
    try:
        time = msgspec.convert(value, Time)
    except msgspec.ValidationError:
        abort(400, must)
    return time if EPOCH <= time <= datetime.now(UTC) + MAX_AHEAD else abort(400, must)


def _status(field: str, value: Any) -> str:
    if value not in STATUSES:
        abort(400, f"{field} must be one of: {', '.join(STATUSES)}")
    return str(value)


def _tags(field: str, value: Any) -> dict[str, str]:
    if not (isinstance(value, dict) and len(value) <= MAX_TAGS and all(map(_is_text, (*value, *value.values())))):
        abort(400, f"{field} must be an object of at most {MAX_TAGS} texts of up to {TEXT_MAX_CHARACTERS} characters")
    return value


PARTS = frozenset({"input_tokens", "output_tokens"})
"""What makes a token count together."""

TOKEN_PARTS = tuple(name for name in Usage.__struct_fields__ if name != "total_tokens")

REQUIRED = ("job_id", "task_name", "model_used", "token_count", "latency_ms")
"""What must be there; ``token_count`` need not beside both of its parts."""

FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "job_id": _name,
    "task_name": _name,
    "model_used": _name,
    "token_count": _count,
    "latency_ms": _latency_ms,
    "cost_estimate": _usd,
    "event_id": _event_id,
    "created_at": _created_at,
    "status": _status,
    "error_type": _name,
    "provider_name": _name,
    "service_tier": _name,
    "tags": _tags,
    **dict.fromkeys(TOKEN_PARTS, _count),
}
"""Every field, the document's first and in its order, and how it is read."""


_TEXT = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX_CHARACTERS, "pattern": r"^[^\x00]*$"}
_SCHEMAS: dict[Callable[[str, Any], Any], dict[str, Any]] = {
    _name: _TEXT,
    _count: {"type": "integer", "minimum": 0, "maximum": MAX_COUNT},
    _latency_ms: {"type": "number", "minimum": 0, "maximum": float(MAX_LATENCY_MS), "description": "milliseconds"},
    _usd: {"type": "number", "minimum": 0, "maximum": float(MAX_USD), "description": "USD; priced, if left out"},
    _event_id: {"type": "string", "format": "uuid", "description": "the same again is not written again"},
    _created_at: {"type": "string", "format": "date-time", "description": "the end of the execution; now, if left out"},
    _status: {"type": "string", "enum": list(STATUSES), "default": "success"},
    _tags: {
        "type": "object",
        "maxProperties": MAX_TAGS,
        "propertyNames": _TEXT | {"minLength": 0},
        "additionalProperties": _TEXT | {"minLength": 0},
    },
}
EXAMPLE: Fields = {
    "job_id": "job_123",
    "task_name": "text_generation",
    "model_used": "gpt-4",
    "token_count": 500,
    "latency_ms": 1250.5,
    "cost_estimate": 0.015,
}
"""A metric as a client writes it."""


def metric_schema() -> dict[str, Any]:
    """The JSON schema of a metric, from the fields and how they are read."""
    always = [name for name in REQUIRED if name != "token_count"]
    return {
        "type": "object",
        "properties": {name: _SCHEMAS[read] for name, read in FIELDS.items()},
        "required": always,
        "anyOf": [{"required": ["token_count"]}, {"required": sorted(PARTS)}],
        "additionalProperties": False,
        "examples": [EXAMPLE],
    }
