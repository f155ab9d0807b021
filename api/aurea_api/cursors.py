"""Cursors: where the next page of the list of jobs begins, as a text that means nothing to whoever hands it back."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from flask import abort
from msgspec import Struct

from aurea_celery.storage.job_list import JobSort, Place

MAX_CHARACTERS = 4096
"""A job's id has up to 255 characters, of which each may take eight in a cursor."""

MAX_TASKS = 2**63 - 1
MIN_COST_EXPONENT, MAX_COST_EXPONENT = -400, 40
"""Of a sum of costs, which are 0 or from 1e-400 to 1e15 USD each."""


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds: the order that it is of, and the place after which the page begins."""

    sort: JobSort
    value: str
    job_id: str


def write(place: Place, sort: JobSort) -> str:
    """The cursor of what comes after a place."""
    cursor = _Cursor(sort, _text(place.value), place.job_id)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read(text: str, sort: JobSort) -> Place:
    """The place of a cursor.

    Raises:
        werkzeug.exceptions.BadRequest: If it is none, or one of another order.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        cursor = msgspec.json.decode(base64.b64decode(padded, altchars="-_", validate=True), type=_Cursor)
        value = _value(cursor)
        # What we did not write may be more than the database can compare with.
        if cursor.sort == sort and "\0" not in cursor.job_id and _text(value) == cursor.value:
            return Place(value, cursor.job_id)
    except (ValueError, ArithmeticError, msgspec.MsgspecError):
        pass
    return abort(400, "cursor must be the next_cursor of an answer to the same question")


def _text(value: datetime | Decimal | int) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _value(cursor: _Cursor) -> datetime | Decimal | int:
    """Return what a cursor holds as its order sorts by it.

    Raises:
        ValueError: If no job can have it.
        ArithmeticError: The same.
    """
    if cursor.sort == "last_updated":
        return datetime.fromisoformat(cursor.value).astimezone(UTC)
    if cursor.sort == "tasks":
        count = int(cursor.value)
        if 0 <= count <= MAX_TASKS:
            return count
    else:
        usd = Decimal(cursor.value)
        if usd.is_finite() and usd >= 0 and MIN_COST_EXPONENT <= usd.adjusted() <= MAX_COST_EXPONENT:
            return usd
    raise ValueError(cursor.value)
