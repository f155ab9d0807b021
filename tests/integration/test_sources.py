"""Where settings come from is the same for workers, the writer, the commands and the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.installation import Installation

ELSEWHERE = "postgresql://nobody@127.0.0.1:1/elsewhere"


@pytest.fixture
def installation(tmp_path: Path, broker_url: str, databases: Databases) -> Iterator[Installation]:
    """One whose environment names the database of somebody else."""
    with databases.migrated() as url, Installation(tmp_path, broker_url, url) as installation:
        installation.settings["DATABASE_URL"] = ELSEWHERE
        yield installation


def test_a_file_reaches_worker_writer_commands_and_api(installation: Installation) -> None:
    lines = [f"AUREA_DATABASE_URL={installation.database_url}", "AUREA_QUEUE=of_the_file"]
    (installation.folder / ".env").write_text("\n".join(lines))
    script = installation.run("script", ["tests.support.script", "3"])
    assert script.wait() == 0, script.log
    assert installation.length_of("of_the_file") == 1

    writer = installation.writer()
    installation.wait_for_executions(3)

    writer.wait_for("(AUREA_DATABASE_URL in .env)")
    app = ["celery", "-A", "tests.support.user_app", "aurea"]
    for number, command in enumerate((app, ["aurea_celery.cli"])):
        check = installation.run(f"check-{number}", [*command, "check"])
        assert check.wait() == 0, check.log
        shown = installation.run(f"settings-{number}", [*command, "settings", "--json"])
        assert shown.wait() == 0, shown.log
        found = json.loads(shown.log.splitlines()[-1])
        assert found["queue"] == {"value": "of_the_file", "from": "AUREA_QUEUE in .env"}
        assert found["database_url"]["from"] == "AUREA_DATABASE_URL in .env"
        assert found["flush_interval_seconds"] == {
            "value": "0.1",
            "from": "AUREA_FLUSH_INTERVAL_SECONDS in the environment",
        }
    ask = "from aurea_api import create_app; print(create_app().test_client().get('/metrics/jobs').json)"
    api = installation.start("api", [sys.executable, "-c", ask])
    assert api.wait() == 0, api.log
    assert "'job_id': 'a script'" in api.log


def test_no_password_is_shown(installation: Installation) -> None:
    urls = {
        "AUREA_DATABASE_URL": "postgresql://user:p/s?s@host:5433/name?password=p/s?s",
        "AUREA_BROKER_URL": "redis://user:p/s?s@host/0",
    }
    for options in ([], ["--json"]):
        shown = installation.run("settings", ["aurea_celery.cli", "settings", *options], urls)
        assert shown.wait() == 0, shown.log
        assert "p/s?s" not in shown.log
        assert "host:5433/name" in shown.log
