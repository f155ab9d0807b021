"""``aurea prices`` and ``aurea reprice`` at the terminal."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.write import Writer
from tests.support.databases import connected, scalar
from tests.support.recorded import execution, model_call
from tests.support.events import make_source


@pytest.fixture
def run(database_url: str) -> Iterator[object]:
    runner = CliRunner(env={"DATABASE_URL": database_url})
    yield lambda *command: runner.invoke(aurea, command, catch_exceptions=False)


def said(result: Result, status: int = 0) -> str:
    assert result.exit_code == status, result.output
    return result.output.strip()
