"""The body of a request: strict JSON of a limited size, with every number exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from flask import Request, abort
from werkzeug.exceptions import RequestEntityTooLarge

MIB = 1024 * 1024


def read_object(request: Request, most_bytes: int) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        werkzeug.exceptions.HTTPException: 400, 413 or 415, with a sentence.
    """
    if not request.is_json:
        abort(415, "the body must be JSON; send it with Content-Type: application/json")
    try:
        value = json.loads(_read(request, most_bytes), parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):
        abort(400, "the body is not JSON; send one object")
    if not isinstance(value, dict):
        abort(400, "the body must be a JSON object")
    return value


def _read(request: Request, most_bytes: int) -> bytes:
    # One byte more than allowed: a body without a length is cut off at this limit, not refused.
    request.max_content_length = most_bytes + 1
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        body = None
    if body is None or len(body) > most_bytes:
        abort(413, f"the body is too large; it may have at most {most_bytes // MIB} MiB")
    return body
