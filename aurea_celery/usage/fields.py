"""Reading fields of what an SDK returned, whether they are attributes or keys."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from aurea_celery.events import clean_text
from aurea_celery.usage.passive import PassiveView


def get(source: Any, name: str) -> Any:
    """A field of a mapping or an object; None if it has none.

    >>> get({"model": "gpt-4"}, "model")
    'gpt-4'
    """
    if type(source) is dict:  # most are, and the abstract class takes longer to ask
        return source.get(name)
    if source is None:
        return None
    if type(source) is PassiveView:
        return source.get(name)
    if isinstance(source, Mapping):
        return source.get(name)
    # What a class has are defaults, not an answer. Of a mock-like object only plain data counts, see count and text.
    return None if isinstance(source, (type, ModuleType)) else getattr(source, name, None)


def count(source: Any, *names: str) -> int | None:
    """The first of some fields that is a whole number; None if none is.

    >>> count({"completion_tokens": True, "output_tokens": 3}, "completion_tokens", "output_tokens")
    3
    """
    for name in names:
        value = get(source, name)
        if type(value) is int:
            return value
    return None


def text(source: Any, *names: str) -> str | None:
    """The first of some fields that is a text and not empty; None if none is. A text enumeration's member is its value.

    >>> text({"model": "", "model_name": "gpt-4"}, "model", "model_name")
    'gpt-4'
    """
    for name in names:
        value = get(source, name)
        if isinstance(value, str) and value:
            return clean_text(str.__str__(value))
    return None


def added(*counts: int | None) -> int | None:
    """The sum of what is known; None if nothing is.

    >>> added(None, 3, 0), added(None, None)
    (3, None)
    """
    known = [one for one in counts if one is not None]
    return sum(known) if known else None


def within(part: int | None, whole: int | None) -> int | None:
    """A part as far as its whole goes; None if there is nothing of it.

    >>> within(3, 5), within(7, 5), within(0, 5), within(3, None)
    (3, 5, None, None)
    """
    return min(part, whole) if part and whole else None
