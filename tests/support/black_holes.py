"""A port that swallows: packets to it are dropped, so that connecting neither succeeds nor fails."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Self

FILLING = 4


class BlackHole:
    """A loopback port whose queue of connections is full: the kernel drops whatever comes, as a firewall does."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._clients = [socket.socket() for _ in range(FILLING)]
        for client in self._clients:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", self.port))

    @property
    def url(self) -> str:
        """A broker's URL that leads nowhere."""
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        """Let go of the port."""
        for one in (self._listener, *self._clients):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
