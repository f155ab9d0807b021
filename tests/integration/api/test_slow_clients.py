"""Clients that send or take little or nothing keep nobody from asking how the API is."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration.api.test_server import TOKENS, ask
from tests.support.many_rows import make_rows
from tests.support.processes import Process, Serve
from tests.support.servers import wait_until

MANY = 40
"""More than there are threads in all processes."""

MOST_SECONDS = 2.0
HALF_HEAD = b"GET /metrics/jobs HTTP/1.1\r\nHost: localhost\r\nX-Long: "
READ, WRITE = (f"Authorization: Bearer {entry.partition(':')[2]}\r\n".encode() for entry in TOKENS.split(","))
POST = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
STRANGERS = {
    "nothing": b"",
    "half a head": HALF_HEAD,
    "two empty lines": b"\r\n\r\n",
    "half a body without a token": POST + b"\r\n{",
    "health without its body": b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    "a request whose answer is not taken": b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
KNOWN = {
    "half a body": POST + WRITE + b"\r\n{",
    "exports that are not taken": b"GET /metrics/export.csv HTTP/1.1\r\nHost: localhost\r\n" + READ + b"\r\n",
}


@pytest.fixture
def guarded(serve: Serve, database_url: str, port: int) -> Process:
    process = serve("aurea_api", DATABASE_URL=database_url, PORT=str(port), AUREA_API_TOKENS=TOKENS)
    process.wait_for(f"http://127.0.0.1:{port}")
    wait_until(lambda: ask(port, "GET", "/health").status == 200, "an API that answers")
    return process


@contextlib.contextmanager
def clients(port: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that have sent this; their receive buffers are as small as they can be."""
    with contextlib.ExitStack() as opened:
        found = []
        for _ in range(MANY):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.settimeout(30)
            client.connect(("127.0.0.1", port))
            client.sendall(begin)
            found.append(client)
        yield found


def seconds_of(port: int, path: str, status: int) -> float:
    begun = time.monotonic()
    assert ask(port, "GET", path).status == status
    return time.monotonic() - begun


@pytest.mark.usefixtures("guarded")
def test_health_is_answered_beside_clients_that_stop(port: int, database_url: str) -> None:
    make_rows(database_url, 20_000)
    seconds = {}
    for name, begin in (STRANGERS | KNOWN).items():
        with clients(port, begin):
            seconds[name] = max(seconds_of(port, "/health", 200) for _ in range(3))

    assert {name for name, taken in seconds.items() if taken > MOST_SECONDS} == set(), seconds


@pytest.mark.usefixtures("guarded")
def test_health_is_answered_beside_clients_that_send_a_byte_at_a_time(port: int) -> None:
    for begin in (HALF_HEAD, KNOWN["half a body"]):
        with clients(port, begin) as slow:
            for _ in range(5):
                for client in slow:
                    client.sendall(b"a")
                assert seconds_of(port, "/health", 200) < MOST_SECONDS


@pytest.mark.usefixtures("guarded")
def test_without_a_token_nobody_keeps_others_from_any_call(port: int) -> None:
    seconds = {}
    for name, begin in STRANGERS.items():
        with clients(port, begin):
            seconds[name] = seconds_of(port, "/metrics/jobs", 401)

    assert {name for name, taken in seconds.items() if taken > MOST_SECONDS} == set(), seconds


@pytest.mark.usefixtures("guarded")
def test_a_head_that_is_too_large_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(HALF_HEAD + b"a" * 200_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_more_clients_than_are_held_close_the_oldest(serve: Serve, database_url: str, port: int) -> None:
    few = "from aurea_api import connections, server; connections.MAX_CONNECTIONS = 4; server.serve()"
    process = serve("timeit", "-n1", "-r1", few, DATABASE_URL=database_url, PORT=str(port), AUREA_API_TOKENS=TOKENS)
    process.wait_for(f"http://127.0.0.1:{port}")
    wait_until(lambda: ask(port, "GET", "/health").status == 200, "an API that answers")

    with clients(port, HALF_HEAD) as halves:
        assert seconds_of(port, "/health", 200) < MOST_SECONDS
        assert halves[0].recv(1) == b""
