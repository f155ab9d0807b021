"""Threads that wait for nobody's request for long, however few bytes a client sends at a time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # gunicorn has no type hints

REQUEST_SECONDS = 30
"""A client has so long to send a request with its body: the largest batch takes that at 1.1 Mbit/s."""


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn's worker with threads, which has a time limit for each read and none for a whole request.

    After the limit nothing more is read from a connection. An answer under way is sent to its end.
    """

    def init_process(self) -> None:
        """Called by gunicorn in the new process; returns when that ends."""
        self._begun: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="aurea-slow-clients", daemon=True).start()
        super().init_process()

    def handle(self, conn: Any) -> Any:
        """Called by gunicorn in a thread for each request."""
        client = conn.sock
        with self._lock:
            self._begun[client] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            with self._lock:
                del self._begun[client]

    def _watch(self) -> None:
        while True:
            time.sleep(REQUEST_SECONDS / 10)
            latest = time.monotonic() - REQUEST_SECONDS
            with self._lock:
                late = [client for client, begun in self._begun.items() if begun < latest]
                for client in late:
                    with contextlib.suppress(OSError):  # it went away by itself
                        client.shutdown(socket.SHUT_RD)
