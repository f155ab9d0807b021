"""A user's plain process whose outbox is removed under it, while the broker is away; files say how far it is."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from tests.support.script import translate


def main(folder: Path) -> None:
    """Call the function 5 times, 7 times when told to, and once more without what was written before."""
    for _ in range(5):
        translate("hello")
    (folder / "captured").touch()
    while not (folder / "go on").exists():
        time.sleep(0.05)
    for _ in range(7):
        translate("hello")
    for path in Path(os.environ["AUREA_OUTBOX_DIR"]).glob(f"*/{os.getpid()}-*"):
        shutil.rmtree(path)
    time.sleep(1.1)  # it looks once a second
    translate("hello")
    (folder / "removed").touch()
    while not (folder / "end").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
