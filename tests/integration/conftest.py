"""A user's installation: an app's worker and our writer as real processes, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation


@pytest.fixture
def installation(tmp_path: Path, broker_url: str, database_url: str) -> Iterator[Installation]:
    """A user's installation on the embedded servers; nothing runs yet."""
    with Installation(tmp_path, broker_url, database_url) as made:
        yield made


@pytest.fixture
def each_installation(tmp_path: Path, each_broker_url: str, each_database_url: str) -> Iterator[Installation]:
    """A user's installation on every combination of servers there is; nothing runs yet."""
    with Installation(tmp_path, each_broker_url, each_database_url) as made:
        yield made
