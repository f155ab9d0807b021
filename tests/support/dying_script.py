"""A user's plain process whose host is taken away after its last call: no exit handler runs."""

from __future__ import annotations

import os
import signal
import sys

from tests.support.script import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
