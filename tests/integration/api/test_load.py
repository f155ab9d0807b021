"""Many clients at once, beside writers: no error, and every row is there; longer with ``python -m bench.api``."""

from __future__ import annotations

import pytest

from aurea_celery.storage import queries
from bench.api import READS_PER_POST, run
from bench.reprice import writing
from tests.support.databases import connected, scalar
from tests.support.processes import Process

SECONDS = 5


def test_many_clients_beside_writers_lose_nothing(
    api: Process, port: int, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(database_url):
        load = run(port, SECONDS)
    with capsys.disabled():
        print(f"\nAPI under load: {load.text()}")

    assert load.problems == []
    assert len(load.reads) == len(load.posts) * (READS_PER_POST + 1)
    assert scalar(database_url, "SELECT count(*) FROM metrics WHERE task_name = 'posted'") == len(load.posts)
    with connected(database_url) as connection:
        assert queries.rollup_differences(connection) == {}
    assert "Traceback" not in api.log
