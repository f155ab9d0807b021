"""The tests that look at time, with the clock shifted: ``python -m tests.clock``.

Everything a test starts gets the same shift, servers and workers too, by a library that ``cc`` makes from ``shift.c``.
Three shifts run at a time. Status 1 if a test fails at any of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("shift.c")
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

# As long as the tests of one shift may take on a busy machine: none of them shall meet midnight by chance.
BEFORE_MIDNIGHT = 15 * MINUTE

AT_A_TIME = 3
PROCESSES = {"400-days": 2}
"""Of a shift with so many tests that the others would end long before it; one where nothing is said."""

MARK = re.compile(r"^(pytestmark = |@)pytest\.mark\.clock\b", re.MULTILINE)


def _next_midnight(now: datetime, is_wanted: Callable[[datetime], bool]) -> datetime:
    """Return the next midnight that is wanted, with at least a day until then."""
    midnight = (now + 2 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    while not is_wanted(midnight):
        midnight += DAY
    return midnight


def end_of_a_month(now: datetime) -> datetime:
    """Return a moment late on the last day of the next month that ends inside of a year."""
    return _next_midnight(now, lambda midnight: midnight.day == 1 and midnight.month != 1) - BEFORE_MIDNIGHT


def end_of_a_year(now: datetime) -> datetime:
    """Return a moment late on the next 31 December."""
    return _next_midnight(now, lambda midnight: (midnight.month, midnight.day) == (1, 1)) - BEFORE_MIDNIGHT


def leap_day(now: datetime) -> datetime:
    """Return a moment early on the next 29 February."""
    return _next_midnight(now, lambda midnight: (midnight.month, midnight.day) == (2, 29)) + MINUTE


SHIFTS: dict[str, Callable[[datetime], datetime]] = {
    "400-days": lambda now: now + 400 * DAY,  # with the most tests: it begins first
    "47-days": lambda now: now + 47 * DAY,
    "a-day": lambda now: now + DAY,
    "end-of-a-month": end_of_a_month,
    "end-of-a-year": end_of_a_year,
    "leap-day": leap_day,
}


class Outcome(NamedTuple):
    """What became of the tests at one shift."""

    name: str
    begins_at: datetime
    seconds: float
    output: str
    holds: bool


def make_library(folder: Path) -> Path:
    """Compile the library that shifts the clock; any user may load it.

    Raises:
        FileNotFoundError: If there is no C compiler.
        subprocess.CalledProcessError: If it cannot compile the library.
    """
    library = folder / "shift.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    folder.chmod(0o755)
    library.chmod(0o755)
    return library


def marked_files() -> list[str]:
    """Return the files with marked tests: to collect all others would take longer than to run these."""
    return sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if MARK.search(path.read_text()))


def run(library: Path, name: str, arguments: list[str]) -> Outcome:
    """Run the marked tests at one shift; ``arguments`` are pytest's, files among them."""
    begun, now = time.monotonic(), datetime.now(UTC)
    begins_at = SHIFTS[name](now)
    environ = {"CLOCK_SHIFT": name, "CLOCK_SHIFT_SECONDS": str((begins_at - now) // timedelta(seconds=1))}
    command = [sys.executable, "-m", "pytest", "--quiet", "-m", "clock", "-p", "tests.clock.selection"]
    processes = ["-n", str(PROCESSES[name]), "--dist", "worksteal"] if name in PROCESSES else []
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *processes, *arguments],
        cwd=ROOT,
        env={**os.environ, **environ, "LD_PRELOAD": str(library)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(name, begins_at, time.monotonic() - begun, done.stdout, holds=done.returncode == 0)


def main() -> int:
    """Run every shift that is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.clock", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--shift", action="append", choices=SHIFTS, help="only this one; may be repeated")
    options, arguments = parser.parse_known_args()  # the rest is pytest's
    with tempfile.TemporaryDirectory(prefix="aurea-clock-") as folder, ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            library = make_library(Path(folder))
        except FileNotFoundError:
            print("There is no C compiler; install one: apt-get install gcc libc6-dev", file=sys.stderr)
            return 1
        outcomes = []
        arguments += marked_files()
        for outcome in pool.map(lambda name: run(library, name, arguments), options.shift or SHIFTS):
            outcomes.append(outcome)
            if not outcome.holds:
                print(f"--- {outcome.name}\n{outcome.output}", flush=True)
            print(
                f"{'ok  ' if outcome.holds else 'FAIL'} {outcome.begins_at:%Y-%m-%d %H:%M} ({outcome.name}):"
                f" {outcome.output.rstrip().rpartition(chr(10))[2]}",
                flush=True,
            )
    return 0 if all(outcome.holds for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
