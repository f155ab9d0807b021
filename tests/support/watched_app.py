"""The user's app, in processes that write down who of them reaches for the network, towards one port."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

WATCHED, PORT = os.environ["WATCHED"], int(os.environ["WATCHED_PORT"])


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Append a line ``PID THREAD EVENT`` for each connection or name resolution that is tried."""
    if event == "socket.connect":
        port = arguments[1][1] if isinstance(arguments[1], tuple) else None
    elif event == "socket.getaddrinfo":
        port = arguments[1]
    else:
        return
    if str(port) == str(PORT):
        with open(WATCHED, "a") as file:  # noqa: PTH123 - quick, and in the middle of anything
            file.write(f"{os.getpid()} {threading.current_thread().name} {event}\n")


sys.addaudithook(note)

from tests.support.user_app import app  # noqa: E402 - nothing of it may be missed

__all__ = ["app"]
