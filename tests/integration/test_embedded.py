"""Private servers do not get in each other's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aurea_celery.embedded import EmbeddedValkey

TOGETHER = 6


def test_servers_that_start_at_the_same_moment_each_find_a_port(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(TOGETHER)]
    for folder in folders:
        folder.mkdir()

    with ThreadPoolExecutor(TOGETHER) as starting:
        servers = list(starting.map(EmbeddedValkey, folders))

    try:
        assert len({server.port for server in servers}) == TOGETHER
    finally:
        for server in servers:
            server.stop()
