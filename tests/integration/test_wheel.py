"""The wheel: what is installed is complete, works without the source tree, and holds nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.installation import ROOT


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
