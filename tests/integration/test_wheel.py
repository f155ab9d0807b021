"""The wheel: what is installed is complete, works without the source tree, and holds nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
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


def test_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name.split("/")[0] for name in names if not re.match(r"[^/]+\.dist-info/", name)}
    assert packages == {"aurea_celery", "aurea_api"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "aurea_celery").rglob("*.py")}
    sources |= {str(path.relative_to(ROOT / "api")) for path in (ROOT / "api" / "aurea_api").rglob("*.py")}
    assert sources <= names
    assert {"aurea_celery/py.typed", "aurea_api/py.typed"} <= names


def test_it_migrates_without_the_source_tree(wheel: Path, tmp_path: Path, empty_database_url: str) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    program = "import aurea_celery.models as m; print(m.__file__); m.init_db()"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "DATABASE_URL": empty_database_url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert str(tmp_path) in found.stdout, "the wheel was not what was tested"
