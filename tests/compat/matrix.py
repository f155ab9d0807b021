"""The tests that involve Celery, on every Celery that is supported: ``python -m tests.compat.matrix``.

Each release gets a virtual environment of its own, with the kombu of the same number, which it was released with; what
pip adds is in the table at the end. Status 1 if a release fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
RELEASES = ("5.5", "5.6", "5.7")
PACKAGES = ("celery", "kombu", "billiard", "redis")

# What runs tasks, workers or Celery's and kombu's own machinery; the database and the API know neither.
TESTS = (
    "tests/unit/capture",
    "tests/unit/delivery",
    "tests/unit/test_autoinstall.py",
    "tests/integration",
    "tests/smoke",
)
OTHERS = ("tests/integration/api", "tests/integration/storage", "tests/integration/test_wheel.py")


class Row(NamedTuple):
    """What became of one release."""

    release: str
    versions: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    holds: bool


BATCHES = "celery-batches>=0.11"
"""Installed without what it requires: it asks for a Celery before 5.7, and runs with it."""


def environment(release: str) -> Path:
    """The interpreter of a release's environment, made or brought up to date."""
    python = ROOT / f".venv-celery-{release}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pair = [f"celery=={release}.*", f"kombu=={release}.*"]
    subprocess.run([*command, "--editable", ".[dev]", *pair], cwd=ROOT, check=True)
    subprocess.run([*command, "--no-deps", BATCHES], check=True)
    return python


def run(release: str, arguments: list[str]) -> Row:
    """Run the tests with one release of Celery."""
    print(f"--- Celery {release}", flush=True)
    python = environment(release)
    report = python.parents[1] / "report.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "--quiet", f"--junitxml={report}", *TESTS, *arguments]
    begun = time.monotonic()
    status = subprocess.run([*command, *(f"--ignore={path}" for path in OTHERS)], cwd=ROOT, check=False).returncode
    return _row(release, versions(python), report, time.monotonic() - begun, holds=status == 0)


def versions(python: Path) -> str:
    """Which packages an environment pairs."""
    code = f"from importlib.metadata import version; print(*(name + ' ' + version(name) for name in {PACKAGES}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _row(release: str, packages: str, report: Path, seconds: float, *, holds: bool) -> Row:
    suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None  # noqa: S314 - pytest's own
    counts = {name: int(suite.get(name, "0")) if suite is not None else 0 for name in _COUNTS}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    return Row(release, packages, passed, failed, counts["skipped"], seconds, holds)


_COUNTS = ("tests", "failures", "errors", "skipped")


def table(rows: Iterable[Row]) -> str:
    """One line for each release."""
    return "\n".join(
        f"{'ok  ' if row.holds else 'FAIL'} Celery {row.release}: {row.passed} passed, {row.failed} failed, "
        f"{row.skipped} skipped in {row.seconds:.0f} s ({row.versions})"
        for row in rows
    )


def main() -> int:
    """Run every release that is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat.matrix", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--release", action="append", choices=RELEASES, help="only this one; may be repeated")
    options, arguments = parser.parse_known_args()  # the rest is pytest's
    rows = [run(release, arguments) for release in options.release or RELEASES]
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
