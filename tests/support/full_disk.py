"""The user's plain process on a full disk: no file of it may grow past a few kilobytes."""

from __future__ import annotations

import resource
import sys

from tests.support.script import main

if __name__ == "__main__":
    # Like a full disk, the limit takes what fits and refuses the rest of a write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
    main(int(sys.argv[1]))
