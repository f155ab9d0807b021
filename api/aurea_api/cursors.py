"""Cursors: where the next page of the list of jobs begins, as a text that means nothing to whoever hands it back."""

from __future__ import annotations

import base64
from datetime import datetime
from decimal import Decimal

import msgspec
from flask import abort
from msgspec import Struct

from aurea_celery.storage.job_list import JobSort, Place


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds: the order that it is of, and the place after which the page begins."""

    sort: JobSort
    value: str
    job_id: str


def write(place: Place, sort: JobSort) -> str:
    """The cursor of what comes after a place."""
    value = place.value.isoformat() if isinstance(place.value, datetime) else str(place.value)
    return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(sort, value, place.job_id))).decode().rstrip("=")


def read(text: str, sort: JobSort) -> Place:
    """The place of a cursor.

    Raises:
        werkzeug.exceptions.BadRequest: If it is none, or one of another order.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        cursor = msgspec.json.decode(base64.b64decode(padded, altchars="-_", validate=True), type=_Cursor)
        if cursor.sort == sort and "\0" not in cursor.job_id:
            return Place(_value(cursor), cursor.job_id)
    except (ValueError, ArithmeticError, msgspec.MsgspecError):
        pass
    return abort(400, "cursor must be the next_cursor of an answer to the same question")


def _value(cursor: _Cursor) -> datetime | Decimal | int:
    if cursor.sort == "last_updated":
        return datetime.fromisoformat(cursor.value)
    if cursor.sort == "tasks":
        return int(cursor.value)
    value = Decimal(cursor.value)
    if not value.is_finite():
        raise ValueError(cursor.value)
    return value
