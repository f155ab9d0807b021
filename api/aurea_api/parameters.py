"""The query parameters of the calls that answer in pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from flask import abort

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_OFFSET = 2**53 - 1


class Page(NamedTuple):
    """Which part of a list is asked for."""

    limit: int
    offset: int


def read_page(parameters: Mapping[str, str]) -> Page:
    """Read ``limit`` and ``offset``.

    Raises:
        werkzeug.exceptions.BadRequest: If one is not a whole number in its range.

    >>> read_page({"limit": "10"})
    Page(limit=10, offset=0)
    """
    return Page(
        _number(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT), _number(parameters, "offset", 0, 0, MAX_OFFSET)
    )


def _number(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = parameters.get(name, str(default))
    if not re.fullmatch("[0-9]{1,16}", text) or not least <= int(text) <= most:
        abort(400, f"{name} must be a whole number from {least} to {most}")
    return int(text)
