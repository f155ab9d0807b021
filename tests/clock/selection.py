"""A plugin of pytest: of the tests marked ``clock``, those for the shift at which they run."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked for other shifts; a mark without arguments is for each."""
    shift = os.environ["CLOCK_SHIFT"]
    kept = [item for item in items if _is_for(item, shift)]
    config.hook.pytest_deselected(items=[item for item in items if not _is_for(item, shift)])
    items[:] = kept


def _is_for(item: pytest.Item, shift: str) -> bool:
    mark = item.get_closest_marker("clock")
    return mark is None or not mark.args or shift in mark.args
