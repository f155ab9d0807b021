"""Threads that wait for nobody's request for long, however few bytes a client sends or takes at a time."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from gunicorn.http import RequestParser  # type: ignore[import-untyped]  # gunicorn has no type hints
from gunicorn.http.errors import NoMoreData  # type: ignore[import-untyped]  # the same
from gunicorn.workers.sync import SyncWorker  # type: ignore[import-untyped]  # the same

from aurea_api.connections import Connection, Connections

THREADS, HEALTH_THREADS = 4, 2
REQUEST_SECONDS = 30
"""A client has so long to send a request with its body: the largest batch takes that at 1.1 Mbit/s."""

ANSWER_SECONDS = 120
"""So long after its request a client must have its answer, unless that is an export."""


class Worker(SyncWorker):  # type: ignore[misc]  # gunicorn has no type hints
    """A gunicorn worker with threads that a request takes when its head has arrived, and leaves when it is answered.

    Health has threads of its own, so that it is answered also while all others are busy. Each connection is for one
    request.
    """

    def run(self) -> None:
        """Called by gunicorn in the new process; returns when that is to end."""
        self._requests: dict[Connection, float] = {}
        self._lock = Lock()
        self._connections = Connections(self.sockets, self.PIPE)
        calls = ThreadPoolExecutor(THREADS, "aurea-api")
        health = ThreadPoolExecutor(HEALTH_THREADS, "aurea-health")
        while self.alive and self.is_parent_alive():
            self.notify()
            for connection in self._connections.wait():
                (health if connection.is_health else calls).submit(self._serve, connection)
            self._cut_off_late()
        self._connections.close()
        for pool in (calls, health):
            pool.shutdown()  # gunicorn's main process ends us if that takes too long

    def _serve(self, connection: Connection) -> None:
        """Answer one request, in a thread."""
        with self._lock:
            self._requests[connection] = time.monotonic()
        try:
            self._answer(connection)
        finally:
            with self._lock:
                del self._requests[connection]
            self._connections.give_back(connection)

    def _answer(self, connection: Connection) -> None:
        client, request = connection.sock, None
        try:
            parser = RequestParser(self.cfg, client, connection.address)
            parser.unreader.unread(bytes(connection.received))
            client.setblocking(False)  # the head is there; what needs more than that is none
            request = next(parser)
            client.setblocking(True)
            self.handle_request(connection.listener, request, client, connection.address)
        except (OSError, NoMoreData, StopIteration) as error:
            self.log.debug("The client went away: %r", error)
        except Exception as error:  # gunicorn's, about the request
            client.setblocking(True)
            self.handle_error(request, client, connection.address, error)

    def _cut_off_late(self) -> None:
        """Read nothing more of a request after its time; send nothing more of an answer after its own."""
        now = time.monotonic()
        with self._lock:
            for connection, begun in self._requests.items():
                if begun + REQUEST_SECONDS < now:
                    is_over = begun + ANSWER_SECONDS < now and not connection.is_export
                    with contextlib.suppress(OSError):  # it went away by itself
                        connection.sock.shutdown(socket.SHUT_RDWR if is_over else socket.SHUT_RD)
