"""A local server that answers as model providers do: JSON, server-sent events, and the event streams of AWS."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support import golden

BREAK = "break"
"""In the place of a chunk: the connection breaks here."""


class ModelServer:
    """Answers ``POST`` by the end of the path; ``answers`` can be changed while it runs.

    A request that asks for a stream gets the answer of the path with ``#stream`` behind it, if there is one.
    """

    def __init__(self, url: str, answers: dict[str, Any]) -> None:
        self.url = url
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def use(self, path: str, name: str) -> None:
        """Answer a path from the golden set."""
        self.answers[path] = golden.answer(name)

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """What a path answers."""
        self.asked.append((path, body))
        plain = path.split("?", maxsplit=1)[0]
        key = f"{plain}#stream" if body.get("stream") else plain
        return next(answer for end, answer in self.answers.items() if key.endswith(end))


@contextmanager
def model_server(answers: Mapping[str, Any]) -> Iterator[ModelServer]:
    """Run a server on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    models = ModelServer(f"http://127.0.0.1:{server.server_port}", dict(answers))
    server.models = models  # type: ignore[attr-defined]  # the handler knows nothing but its server
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield models
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        models: ModelServer = self.server.models  # type: ignore[attr-defined]  # set above
        answer = models.answer(self.path, body)
        if isinstance(answer, list):
            self._send_stream(answer)
        else:
            self._send(200, "application/json", json.dumps(answer).encode())

    def _send_stream(self, chunks: list[Any]) -> None:
        is_aws = self.path.endswith("converse-stream")
        data = b"".join(map(_frame if is_aws else _event, [chunk for chunk in chunks if chunk != BREAK]))
        if self.path.endswith("chat/completions"):
            data += b"data: [DONE]\n\n"
        kind = "application/vnd.amazon.eventstream" if is_aws else "text/event-stream"
        self._send(200, kind, data, missing=100 if BREAK in chunks else 0)

    def _send(self, status: int, kind: str, data: bytes, *, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) + missing))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _event(chunk: dict[str, Any]) -> bytes:
    """One server-sent event; Mistral's SDK shows what it got as ``data``."""
    payload = chunk.get("data", chunk)
    kind = payload.get("type")
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + json.dumps(payload).encode() + b"\n\n"


def _frame(chunk: dict[str, Any]) -> bytes:
    """One message of AWS's binary event streams: lengths, checksum, headers, payload, checksum."""
    ((kind, payload),) = chunk.items()
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}.items()
    )
    data = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(headers) + len(data) + 16, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + data
    return message + struct.pack("!I", zlib.crc32(message))
