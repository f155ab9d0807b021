"""Values as JSON: decimals as exact numbers, times in ISO 8601 with zone."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

_encoder = msgspec.json.Encoder(decimal_format="number")


def json_bytes(value: Any) -> bytes:
    """A value as JSON; its own encoder, for the host's may write decimals as texts.

    >>> from decimal import Decimal
    >>> json_bytes({"total_cost": Decimal("0.30")})
    b'{"total_cost":0.30}'
    """
    return _encoder.encode(value)


def json_response(value: Any, status: int = 200) -> Response:
    """An answer with a value as its body."""
    return Response(json_bytes(value), status, mimetype="application/json")
