"""The API on a fresh database: in this process, and as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from aurea_api import create_app
from tests.support.processes import Process, Serve
from tests.support.servers import accepts, free_port, wait_until


@pytest.fixture
def client(database_url: str) -> FlaskClient:
    return create_app(database_url).test_client()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a command with an environment; it is stopped at the end."""
    started: list[Process] = []

    def start(*command: str, **environ: str) -> Process:
        started.append(
            Process(f"api-{len(started)}", [sys.executable, "-m", *command], folder=tmp_path, environ=environ)
        )
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def api(serve: Serve, database_url: str, port: int) -> Process:
    """The API with both workers up."""
    process = serve("aurea_api", DATABASE_URL=database_url, PORT=str(port))
    process.wait_for(f"http://127.0.0.1:{port}")
    wait_until(lambda: len(process.children()) == 2 and accepts(port), "two workers")
    return process
