"""Connections that need no thread: those whose request has not arrived yet, and those whose answer was sent.

A client that sends half a request, or a byte of it per second, or never closes its end, costs a socket and a few bytes
for some seconds, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

HEAD_SECONDS = 10
"""A client has so long to send the head of its request."""

CLOSE_SECONDS = 2
"""A client has so long to close its end after the answer; closed earlier, it might lose the end of the answer."""

MAX_CONNECTIONS = 500
"""How many connections one process holds without a thread; the oldest is closed for one more."""

MAX_HEAD_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 1024 * 1024
"""How much of a body that nobody read is thrown away after the answer."""

RECEIVE_BYTES = 16 * 1024
CHECK_SECONDS = 0.5
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
HEALTH = re.compile(rb"(?:GET|HEAD) (?:https?://[^/ ]*)?/health[? ]")
EXPORT = re.compile(rb"GET [^ ?]*/metrics/export\.")


class Connection:
    """One client's connection.

    Attributes:
        sock: Its socket; it does not block while there is no thread for it.
        address: Where the client is.
        listener: The socket that accepted it.
        received: What has arrived, and then all that was read with the head of the request.
        deadline: When it is closed, by the monotonic clock.
        is_answered: Whether nothing but the client's end of it is awaited any more.
    """

    def __init__(self, sock: socket.socket, address: Any, listener: socket.socket) -> None:
        self.sock = sock
        self.address = address
        self.listener = listener
        self.received = bytearray()
        self.deadline = time.monotonic() + HEAD_SECONDS
        self.is_answered = False
        self._unread_bytes = 0

    @property
    def is_health(self) -> bool:
        """Whether the API's health is asked for."""
        return HEALTH.match(self.received) is not None

    @property
    def is_export(self) -> bool:
        """Whether an export is asked for, which takes as long as it takes."""
        return EXPORT.match(self.received) is not None

    def receive(self) -> bool:
        """Take what has arrived; return whether the head of the request is complete.

        Raises:
            OSError: If the connection has ended, or is to be closed.
        """
        data = self.sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError
        if self.is_answered:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                raise ConnectionAbortedError
            return False
        searched = max(0, len(self.received) - 3)
        self.received += data
        return self.received.find(b"\r\n\r\n", searched) >= 0

    def end(self) -> None:
        """Tell the client that nothing more is sent."""
        self.is_answered = True
        self.deadline = time.monotonic() + CLOSE_SECONDS
        with contextlib.suppress(OSError):  # it went away by itself
            self.sock.shutdown(socket.SHUT_WR)


class Connections:
    """The connections of one process that need no thread. All but :meth:`give_back` is for one thread alone.

    Args:
        listeners: The sockets that accept connections.
        wakeup: Both ends of a pipe that do not block; a byte in it ends :meth:`wait`.
    """

    def __init__(self, listeners: Sequence[socket.socket], wakeup: tuple[int, int]) -> None:
        self._selector = selectors.DefaultSelector()
        self._held: dict[Connection, None] = {}
        self._given_back: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._wakeup = wakeup
        self._checked_at = 0.0
        self._selector.register(wakeup[0], selectors.EVENT_READ)
        self._listeners = listeners
        for listener in listeners:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)

    def wait(self, seconds: float = CHECK_SECONDS) -> list[Connection]:
        """Return the connections with a request to answer, once there is one or that time has passed.

        Their sockets block, and are the caller's from then on.
        """
        ready = []
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Connection):
                if self._receive(key.data):
                    ready.append(key.data)
            elif key.fileobj == self._wakeup[0]:
                self._take_back()
            else:
                self._accept(key.fileobj)
        self._close_late()
        return ready

    def give_back(self, connection: Connection) -> None:
        """Close a connection once the client has taken its answer; for any thread."""
        connection.end()
        self._given_back.put(connection)
        with contextlib.suppress(BlockingIOError):  # the pipe is full of bytes that say the same
            os.write(self._wakeup[1], b"1")

    def close(self) -> None:
        """Accept no more, and close all that are held."""
        for connection in list(self._held):
            self._close(connection)
        self._selector.close()
        for listener in self._listeners:
            listener.close()

    def _accept(self, listener: Any) -> None:
        try:
            sock, address = listener.accept()
        except OSError:  # another process was faster, or the client went away
            return
        self._hold(Connection(sock, address, listener))

    def _hold(self, connection: Connection) -> None:
        if len(self._held) >= MAX_CONNECTIONS:
            self._close(next(iter(self._held)))
        connection.sock.setblocking(False)
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)
        self._held[connection] = None

    def _receive(self, connection: Connection) -> bool:
        """Whether its request is to be answered now."""
        if connection not in self._held:  # it was closed for another one a moment ago
            return False
        try:
            is_complete = connection.receive()
        except BlockingIOError:
            return False
        except OSError:
            self._close(connection)
            return False
        if is_complete:
            self._release(connection)
            connection.sock.setblocking(True)
        elif len(connection.received) > MAX_HEAD_BYTES and not connection.is_answered:
            with contextlib.suppress(OSError):
                connection.sock.send(TOO_LARGE)
            connection.end()
        return is_complete

    def _take_back(self) -> None:
        os.read(self._wakeup[0], RECEIVE_BYTES)
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self._given_back.get_nowait()
                if connection.sock.fileno() >= 0:  # after a fault in the middle of an answer it is closed already
                    self._hold(connection)

    def _close_late(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        for connection in [one for one in self._held if one.deadline < now]:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._release(connection)
        connection.sock.close()

    def _release(self, connection: Connection) -> None:
        del self._held[connection]
        self._selector.unregister(connection.sock)
