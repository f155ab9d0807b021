"""A user's plain process that makes calls, waits until it is told to, and makes one more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.support.script import translate


def main(count: int, folder: Path) -> None:
    """Call the function, and once more when ``end`` is there."""
    for _ in range(count):
        translate("hello")
    print("all called", flush=True)
    while not (folder / "end").exists():
        time.sleep(0.05)
    translate("hello")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
