"""A user's plain process that waits after its calls, to be killed; with ``full``, on a full disk from the second on."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from tests.support.script import translate


def main(count: int, folder: Path) -> None:
    """Call the function, say so, and wait."""
    if sys.argv[3:] == ["full"]:
        translate("hello")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # no file grows, but what is there can be written
    for _ in range(count):
        translate("hello")
    (folder / "called").touch()
    time.sleep(60)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
