"""One line for each request: who, what, how it ended, how many bytes and how long. No query, no header, no body."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

logger = logging.getLogger("aurea_api.access")

MOST_CHARACTERS = 200


def log_access(app: Flask) -> None:
    """Log the requests of an app at the level INFO, each when its answer is sent."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.aurea_begun = time.perf_counter()


def _end(response: Response) -> Response:
    if logger.isEnabledFor(logging.INFO):
        begun: float = g.get("aurea_begun", time.perf_counter())
        # A path may hold line breaks and escape codes: whoever asks must not write lines of their own.
        what = f"{request.method} {ascii(request.path[:MOST_CHARACTERS])[1:-1]}"
        who, status = request.remote_addr or "-", response.status_code
        size = response.headers.get("Content-Length", "-")  # "-": sent in pieces

        def write_line() -> None:
            logger.info("%s %s %d %s bytes %.1f ms", who, what, status, size, (time.perf_counter() - begun) * 1000)

        response.call_on_close(write_line)
    return response
