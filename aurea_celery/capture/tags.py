"""Tags that travel: read from whoever gives them, and put together, the nearer before the farther.

A tag whose value is ``None`` takes away the one that would be inherited. Whatever is given becomes texts before it is
put into a message, so that no value can keep the message from being sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.events import clean_text

TAGS_OPTION = TAGS_HEADER = "aurea_tags"
MAX_TAGS = 64

GivenTags = Mapping[str, str | None]


def read_tags(given: Any) -> GivenTags:
    """Return the tags that somebody gives; an empty mapping for whatever is not one of names and values."""
    return (_read(given) or {}) if given else {}


@guarded
def _read(given: Any) -> GivenTags:
    if not isinstance(given, Mapping):
        log_once_a_minute(
            "no tags", logging.WARNING, "aurea-celery: tags must map names to values, so these are not recorded"
        )
        return {}
    return limited((clean_text(name), None if value is None else clean_text(value)) for name, value in given.items())


def limited(tags: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return as many tags as a message carries, the first ones."""
    tags = iter(tags)
    kept = dict(islice(tags, MAX_TAGS))
    if next(tags, None) is not None:
        log_once_a_minute(
            "many tags", logging.WARNING, "aurea-celery: more than %d tags; the others are not recorded", MAX_TAGS
        )
    return kept


def merged_tags(*sources: GivenTags) -> dict[str, str]:
    """Put tags together.

    Args:
        sources: The nearest first; of tags with the same name that of the nearest counts.

    >>> merged_tags({"step": "fetch", "region": None}, {"customer": "acme", "step": "all", "region": "eu"})
    {'step': 'fetch', 'customer': 'acme'}
    """
    merged: dict[str, str | None] = {}
    for source in sources:
        for name, value in source.items():
            merged.setdefault(name, value)
    return {name: value for name, value in merged.items() if value is not None}
