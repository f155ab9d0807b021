"""The proxy does to real connections what it says."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from chaos.proxy import Proxy
from tests.support.servers import free_port, wait_until

TEXT = b"x" * 200_000


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    """Takes as many connections as come."""

    allow_reuse_address = daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that is cut is what the tests are about."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before an echo."""
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with Proxy(server.server_address[1]) as made:
            yield made
        server.shutdown()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection through the proxy that works."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        yield connection


def echoed(client: socket.socket, data: bytes) -> bytes:
    threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
    answer = b""
    while len(answer) < len(data):
        piece = client.recv(65_536)
        if not piece:
            break
        answer += piece
    return answer


def test_everything_passes_unchanged(client: socket.socket) -> None:
    assert echoed(client, TEXT) == TEXT


def test_delay(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.1)
    began_at = time.monotonic()
    assert echoed(client, b"late") == b"late"
    assert time.monotonic() - began_at >= 0.2, "there and back"
    proxy.delay(0)


def test_reset_is_an_error_and_no_end(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_half_closed_the_client_reads_an_end(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.half_close() == 1
    assert client.recv(100) == b""
    client.sendall(b"still heard")


def test_what_is_held_waits_and_goes_on(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold("requests")
    client.sendall(b"patience")
    wait_until(lambda: proxy.held_bytes("requests") == 8, "held bytes", seconds=10)
    assert proxy.held_bytes("replies") == 0
    proxy.release()
    assert client.recv(100) == b"patience"


def test_replies_are_held_too_and_can_be_cut(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold("replies")
    client.sendall(b"never")
    wait_until(lambda: proxy.held_bytes("replies") == 5, "held bytes", seconds=10)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    proxy.release()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as again:
        assert echoed(again, b"again") == b"again"


def test_the_end_of_a_client_reaches_the_server_and_back(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""


def test_a_server_that_is_down_closes_what_comes() -> None:
    with (
        Proxy(free_port()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
    ):
        assert client.recv(100) == b""
