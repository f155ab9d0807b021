"""Cohere, version 1 and 2: what it bills and what its model saw are counted apart."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage.fields import get


def read_usage_or_meta(raw: Any) -> Usage | None:
    """``billed_units``, which is what costs money, else ``tokens``.

    The billed input leaves out what Cohere adds to a prompt. Cached tokens are part of the other count, so that they
    are told only with that one.

    >>> billed, seen = {"input_tokens": 4.0, "output_tokens": 2.0}, {"input_tokens": 70.0, "output_tokens": 2.0}
    >>> usage = read_usage_or_meta({"billed_units": billed, "tokens": seen})
    >>> usage.input_tokens, usage.output_tokens
    (4, 2)
    """
    billed, seen = _parts(get(raw, "billed_units")), _parts(get(raw, "tokens"))
    if billed != (None, None):
        return Usage(input_tokens=billed[0], output_tokens=billed[1])
    if seen != (None, None):
        cached = _whole(get(raw, "cached_tokens"))
        return Usage(input_tokens=seen[0], output_tokens=seen[1], cache_read_input_tokens=cached)
    return None


def _parts(units: Any) -> tuple[int | None, int | None]:
    return _whole(get(units, "input_tokens")), _whole(get(units, "output_tokens"))


def _whole(value: Any) -> int | None:
    """Cohere counts in floating point."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None
