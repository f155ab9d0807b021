"""The golden set: what providers answer, and the usage that is in it.

``tests/golden/PROVIDER/FLAVOUR/NAME.json`` is an answer as it goes over the wire or as an SDK dumps it; a list is the
chunks of a stream. ``NAME.expected.json`` beside it says what must be read: ``usage``, and ``model``, ``service_tier``,
``provider`` and ``response_id`` where the answer says them; ``null`` where it carries no usage.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from aurea_celery.events import Usage
from aurea_celery.usage import Reading

FOLDER = Path(__file__).parents[1] / "golden"


class Case(NamedTuple):
    """One answer and what must be read from it."""

    answer: Any
    expected: Reading | None


def names() -> list[str]:
    """All answers, as ``openai/chat/cached``."""
    files = (file for file in FOLDER.rglob("*.json") if not file.name.endswith(".expected.json"))
    return sorted(str(file.relative_to(FOLDER)).removesuffix(".json") for file in files)


def answer(name: str) -> Any:
    """What a provider answers."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def case(name: str) -> Case:
    """An answer and what must be read from it."""
    expected = json.loads((FOLDER / f"{name}.expected.json").read_text())
    if expected is None:
        return Case(answer(name), None)
    return Case(answer(name), Reading(**{**expected, "usage": Usage(**expected["usage"])}))


def expected(name: str) -> Reading:
    """What must be read from an answer that carries usage."""
    reading = case(name).expected
    assert reading is not None
    return reading


def as_object(value: Any) -> Any:
    """The same answer as an SDK's object."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return [as_object(one) for one in value] if isinstance(value, list) else value
