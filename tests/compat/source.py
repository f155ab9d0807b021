"""The source of the installed Celery, with its own tests, from the package index."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import celery

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".celery-source"


class SourceMissing(Exception):
    """Celery's own tests cannot be had."""


def celery_source() -> Path:
    """A folder with Celery's tests and their configuration, without the package itself: the installed one is to run.

    Raises:
        SourceMissing: If the package index does not have them.
    """
    folder = CACHE / celery.__version__
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            source = _unpack(_download(Path(scratch)), Path(scratch))
            kept = Path(scratch) / "kept"
            kept.mkdir()
            for name in ("t", "pyproject.toml"):
                (source / name).rename(kept / name)
            kept.rename(folder)
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "celery", "--dest", f"{folder}", f"celery=={celery.__version__}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("celery-*.tar.gz"))
    if not archives:
        raise SourceMissing(f"pip has no source of Celery {celery.__version__}:\n{done.stderr[-2000:]}")
    return archives[0]


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    if not (source / "t" / "integration").is_dir():
        raise SourceMissing(f"{archive.name} comes without t/integration")
    return source
