"""The API as a process of its own, spoken to over a socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import METRIC, Answer, path_of, read_json
from tests.support.databases import scalar
from tests.support.processes import Process, Serve, session_of
from tests.support.servers import accepts

TOKENS = "read:0123456789-reads,write:0123456789-writes"


def ask(port: int, method: str, path: str, body: Any = None) -> Answer:
    """A request with its path as given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return Answer(answer.status, read_json(answer.read()), dict(answer.headers))
    finally:
        connection.close()


def raw(port: int, request: bytes) -> bytes:
    """Bytes sent, bytes answered."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "job_id", ["job_123", "a/details", "/", "..", "a//b", "ünïcode 🐘", "a?b#c", " ", "%2F", "a\r\n"]
)
@pytest.mark.usefixtures("api")
def test_every_job_id_survives_the_socket(port: int, job_id: str) -> None:
    created = ask(port, "POST", "/metrics", METRIC | {"job_id": job_id})
    details = ask(port, "GET", f"{path_of(job_id)}/details?limit=1")
    summary = ask(port, "GET", path_of(job_id))

    assert created.status == 201
    assert details.body == {"job_id": job_id, "count": 1, "metrics": [created.body["metric"]]}
    assert (summary.body["job_id"], summary.body["total_cost"]) == (job_id, Decimal("0.015"))


@pytest.mark.usefixtures("api")
def test_raw_requests(port: int) -> None:
    host = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    body = json.dumps(METRIC).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    typed = b"Content-Type: application/json; charset=utf-8\r\n"
    huge = b"%x\r\n%b\r\n0\r\n\r\n" % (2**20 + 1, b" " * (2**20 + 1))

    chunked = raw(port, b"POST /metrics" + host + typed + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    absolute = raw(port, b"GET http://localhost/metrics/jobs/job_123/details" + host + b"\r\n")
    untyped = raw(port, b"POST /metrics" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    too_long = raw(port, b"POST /metrics" + host + typed + b"Content-Length: 9999999\r\n\r\n")
    too_long_in_chunks = raw(port, b"POST /metrics" + host + typed + b"Transfer-Encoding: chunked\r\n\r\n" + huge)
    head = raw(port, b"HEAD /health" + host + b"\r\n")

    assert chunked.startswith(b"HTTP/1.1 201 ")
    assert absolute.startswith(b"HTTP/1.1 200 ")
    assert b'"count":1' in absolute
    assert untyped.startswith(b"HTTP/1.1 415 ")
    assert too_long.startswith(b"HTTP/1.1 413 ")
    assert too_long_in_chunks.startswith(b"HTTP/1.1 413 ")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.usefixtures("api")
def test_many_clients_at_once_add_up_exactly(port: int, database_url: str) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(port, "POST", "/metrics", METRIC), range(200)))

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["metric"]["id"] for answer in answers}) == 200
    summary = ask(port, "GET", "/metrics/jobs/job_123").body
    assert (summary["total_tasks"], summary["total_tokens"], summary["total_cost"]) == (200, 100_000, 3)
    assert scalar(database_url, "SELECT (sum(captured), sum(written))::text FROM metrics_sources") == "(200,200)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told(api: Process, port: int, number: signal.Signals) -> None:
    api.send(number)

    assert api.wait() == 0
    assert not accepts(port)
    assert session_of(api.pid) == []
    assert "Traceback" not in api.log


def test_it_listens_on_loopback_only(api: Process, port: int) -> None:
    listening = [line.split() for line in Path(f"/proc/{api.pid}/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1] for fields in listening if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")}

    assert addresses == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize("command", [("aurea_api",), ("aurea_celery.cli", "serve")])
def test_a_taken_port_is_said(
    api: Process, serve: Serve, port: int, database_url: str, command: tuple[str, ...]
) -> None:
    second = serve(*command, DATABASE_URL=database_url, PORT=str(port))

    assert second.wait() == 1
    assert second.log == (
        f"aurea: port {port} on 127.0.0.1 is taken by another process; stop it, or set PORT to another port\n"
    )
    assert api.status is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_said(serve: Serve, database_url: str, host: str) -> None:
    process = serve("aurea_celery.cli", "serve", "--host", host, DATABASE_URL=database_url, AUREA_API_TOKENS=TOKENS)

    assert process.wait() == 2
    assert process.log.startswith(f"aurea: cannot listen on {host}, port 4000: ")


def test_the_command_serves_on_the_port_it_is_given(serve: Serve, database_url: str, port: int) -> None:
    process = serve("aurea_celery.cli", "serve", "--port", str(port), "--host", "::1", DATABASE_URL=database_url)

    process.wait_for(f"http://[::1]:{port}")


@pytest.mark.parametrize("command", [("aurea_api",), ("aurea_celery.cli", "serve")])
@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://host/name"}, "DATABASE_URL must start with postgresql://"),
        ({"DATABASE_URL": "postgresql://host/name", "PORT": "http"}, "PORT must be a number"),
    ],
)
def test_a_wrong_environment_is_said(
    serve: Serve, command: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    process = serve(*command, **environ)

    assert process.wait() == 2
    assert process.log.startswith(f"aurea: {sentence}")
    assert len(process.log.splitlines()) == 1


def test_without_tokens_it_listens_on_loopback_alone(serve: Serve, database_url: str) -> None:
    process = serve("aurea_celery.cli", "serve", "--host", "::", DATABASE_URL=database_url, AUREA_API_TOKENS="")

    assert process.wait() == 2
    assert process.log == (
        "aurea: on :: the API would be open to everyone who reaches it; set AUREA_API_TOKENS (make one: aurea"
        " token), or listen on 127.0.0.1\n"
    )


def test_requests_are_logged_without_their_secrets(serve: Serve, database_url: str, port: int) -> None:
    process = serve("aurea_api", PORT=str(port), DATABASE_URL=database_url, AUREA_API_TOKENS=TOKENS)
    process.wait_for(f"http://127.0.0.1:{port}")

    for path, token in (("/metrics/jobs/a%0A[x]%20b?prefix=secret", "nope-nope"), ("/metrics/jobs", TOKENS[5:21])):
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        raw(port, head.encode())

    process.wait_for("GET /metrics/jobs 200 30 bytes ")  # {"jobs":[],"next_cursor":null}
    assert "127.0.0.1 GET /metrics/jobs/a\\n[x] b 401 " in process.log
    assert not any(word in process.log for word in ("secret", "nope", "0123456789", "Bearer"))


def test_a_client_that_sends_half_a_request_is_left(serve: Serve, database_url: str, port: int) -> None:
    """As many of them as there are threads do not keep others out for longer than that."""
    slow = "from aurea_api import connections, server; connections.HEAD_SECONDS = 1; server.serve()"
    process = serve("timeit", "-n1", "-r1", slow, DATABASE_URL=database_url, PORT=str(port))
    process.wait_for(f"http://127.0.0.1:{port}")
    halves = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(8)]
    for half in halves:
        half.sendall(b"GET /health HTTP/1.1\r\nHost: loc")

    assert ask(port, "GET", "/health").status == 200
    for half in halves:
        assert b"200" not in half.recv(65536)
        half.close()


HALF_HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: "
HALF_BODY = (
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
)


def test_a_client_that_sends_a_byte_at_a_time_is_left(serve: Serve, database_url: str, port: int) -> None:
    slow = (
        "from aurea_api import connections, server, slow_clients;"
        " connections.HEAD_SECONDS = slow_clients.REQUEST_SECONDS = 1; server.serve()"
    )
    process = serve("timeit", "-n1", "-r1", slow, DATABASE_URL=database_url, PORT=str(port))
    process.wait_for(f"http://127.0.0.1:{port}")

    with ThreadPoolExecutor(8) as clients:
        heads = [clients.submit(send_slowly, port, HALF_HEAD) for _ in range(4)]
        bodies = [clients.submit(send_slowly, port, HALF_BODY) for _ in range(4)]

    assert all(b"200" not in head.result() for head in heads)
    assert all(body.result().startswith(b"HTTP/1.1 400 ") for body in bodies)
    assert ask(port, "GET", "/health").status == 200


def send_slowly(port: int, begin: bytes) -> bytes:
    """Begin a request, and add a byte ten times a second until something is answered, or the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), 0.1) as connection:
        connection.sendall(begin)
        for _ in range(300):
            with contextlib.suppress(TimeoutError):
                return _received(connection)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"a")
    raise AssertionError("the client was not left")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""
