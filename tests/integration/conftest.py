"""A user's installation: an app's worker and our writer as real processes, on real servers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import ROOT, Installation


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


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the source tree, which building would litter."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("aurea_celery", "api"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", f"{folder}", f"{copy}"]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return next(folder.glob("*.whl"))
