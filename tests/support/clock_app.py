"""A user's app on a host whose clock is wrong, by as many seconds as the file of CLOCK says."""

from __future__ import annotations

import os
from pathlib import Path

from chaos.wrong_clock import WrongClock

WrongClock(Path(os.environ["CLOCK"])).install()  # before Celery and kombu take the clock by name

from tests.support.pruned_app import app  # noqa: E402, F401 - the app
