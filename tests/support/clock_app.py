"""A user's app on a host whose clock is wrong, by as many seconds as the file of CLOCK says."""

from __future__ import annotations

import os
from pathlib import Path

from chaos.wrong_clock import WrongClock

WrongClock(Path(os.environ["CLOCK"])).install()  # before Celery and kombu take the clock by name

from tests.support import pruned_app  # noqa: E402, F401 - it configures the app
from tests.support.user_app import app  # noqa: E402, F401 - the app
