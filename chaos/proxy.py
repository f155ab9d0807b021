"""A TCP proxy that does to connections what networks do: delay, reset, close one half, swallow.

Bytes that are held are never dropped from the middle of a stream: they go on later, or their connection is reset.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

CHUNK_BYTES = 65_536
POLL_SECONDS = 0.1
RESET = struct.pack("ii", 1, 0)  # linger for no time at all: close sends RST

Direction = Literal["requests", "replies"]


class Gate:
    """Lets bytes of one direction pass, late or not at all; counts those that wait."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.delay_seconds = 0.0
        self.held_bytes = 0

    def hold(self) -> None:
        """Let nothing pass from now on."""
        self.held_bytes = 0
        self._open.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def pass_through(self, size: int, cut: threading.Event) -> bool:
        """Return once ``size`` bytes may pass, or their connection is cut; whether they may."""
        if not self._open.is_set():
            self.held_bytes += size
        while not self._open.wait(POLL_SECONDS):
            if cut.is_set():
                return False
        return not cut.wait(self.delay_seconds)


class Pair:
    """One client's connection and ours to the server, pumped by two threads."""

    def __init__(self, client: socket.socket, server: socket.socket, gates: dict[Direction, Gate]) -> None:
        self._client, self._server = client, server
        self._cut = threading.Event()
        self._pumps = [
            threading.Thread(target=self._pump, args=(client, server, gates["requests"]), daemon=True),
            threading.Thread(target=self._pump, args=(server, client, gates["replies"]), daemon=True),
        ]
        for thread in self._pumps:
            thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing is pumped any more."""
        return not any(thread.is_alive() for thread in self._pumps)

    def reset(self) -> None:
        """Cut both connections with RST, as soon as the pumps have seen it."""
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._cut.set()

    def half_close(self) -> None:
        """Tell the client that nothing more will come, and go on listening to it."""
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)

    def join(self) -> None:
        """Wait for the pumps after :meth:`reset`, and close."""
        for thread in self._pumps:
            thread.join()
        self.close()

    def close(self) -> None:
        """Give the descriptors back, once nothing is pumped; after :meth:`reset` that sends the RST."""
        self._client.close()
        self._server.close()

    def _pump(self, source: socket.socket, target: socket.socket, gate: Gate) -> None:
        """Pass bytes on until one side ends; then tell the other side."""
        with contextlib.suppress(OSError):
            while not self._cut.is_set():
                if not select.select([source], [], [], POLL_SECONDS)[0]:
                    continue
                data = source.recv(CHUNK_BYTES)
                if not data or not gate.pass_through(len(data), self._cut):
                    break
                target.sendall(data)
        if not self._cut.is_set():
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)


class Proxy:
    """Listens on a free loopback port and passes everything on to a server's port, which may be down."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._gates: dict[Direction, Gate] = {"requests": Gate(), "replies": Gate()}
        self._pairs: list[Pair] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_SECONDS)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    def held_bytes(self, direction: Direction) -> int:
        """How many bytes have been held since :meth:`hold`."""
        return self._gates[direction].held_bytes

    def hold(self, direction: Direction) -> None:
        """Swallow what goes in one direction."""
        self._gates[direction].hold()

    def release(self) -> None:
        """Hold nothing any more; what was held goes on."""
        for gate in self._gates.values():
            gate.release()

    def delay(self, seconds: float) -> None:
        """Make every piece of data late."""
        for gate in self._gates.values():
            gate.delay_seconds = seconds

    def reset(self) -> int:
        """Cut every connection with RST; how many."""
        with self._lock:
            for pair in self._pairs:
                pair.reset()
            return len(self._pairs)

    def half_close(self) -> int:
        """Close one half of every connection; how many."""
        with self._lock:
            for pair in self._pairs:
                pair.half_close()
            return len(self._pairs)

    def stop(self) -> None:
        """End everything."""
        self._stopping = True
        self._thread.join()
        self._listener.close()
        self.reset()
        for pair in self._pairs:
            pair.join()

    def _accept(self) -> None:
        while not self._stopping:
            self._forget_ended()
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
        except OSError:  # the server is down: so is what stands before it
            client.close()
            return
        server.settimeout(None)
        client.settimeout(None)
        with self._lock:
            self._pairs.append(Pair(client, server, self._gates))

    def _forget_ended(self) -> None:
        with self._lock:
            for pair in [one for one in self._pairs if one.is_over]:
                self._pairs.remove(pair)
                pair.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
