"""``aurea reconcile``: what it says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from tests.support.databases import connected
from tests.support.recorded import execution, source, write


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ``.env`` of the working directory, and no database of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def run(url: str | None, *command: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, command)


def reconcile(url: str | None, *options: str) -> Result:
    return run(url, "reconcile", *options)


def test_all_is_accounted_for(database_url: str) -> None:
    write(database_url, execution(), execution(), sender=source(captured=3))

    found = reconcile(database_url)

    assert (found.exit_code, found.stdout) == (0, "captured 3  written 2  rejected 0  pending 1  lost 0\n")


def test_a_lost_event_is_said_with_its_reason(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=4, outbox_full=2, memory_full=1))

    found = reconcile(database_url)

    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "captured 4  written 1  rejected 0  pending 0  lost 3",
        "lost because of memory_full: 1",
        "lost because of outbox_full: 2",
    ]


def test_a_wrong_sum_is_said_with_its_table(database_url: str) -> None:
    write(database_url, execution(), execution("job_456"))
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_job SET cost_estimate = cost_estimate + 1"))

    found = reconcile(database_url)

    assert found.exit_code == 1
    assert found.stdout.splitlines()[1:] == [
        "metrics_job: 2 sums differ from the rows; make them anew: aurea db rebuild"
    ]
    rebuilt = run(database_url, "db", "rebuild")
    assert (rebuilt.exit_code, rebuilt.stdout) == (0, "Every rollup is made anew from the rows.\n")
    assert reconcile(database_url).exit_code == 0


def test_machines_get_json(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=2, outbox_full=1))

    found = reconcile(database_url, "--json")

    assert found.exit_code == 1
    assert json.loads(found.stdout) == {
        "captured": 2,
        "written": 1,
        "rejected": 0,
        "pending": 0,
        "dropped": 1,
        "duplicates": 0,
        "excluded": 0,
        "sampled_out": 0,
        "dropped_by_reason": {"outbox_full": 1},
        "rollup_differences": {},
    }


def test_a_missing_database_is_said(empty_database_url: str) -> None:
    unnamed, unmigrated = reconcile(None), reconcile(empty_database_url)

    assert (unnamed.exit_code, unmigrated.exit_code) == (2, 1)
    assert unnamed.stderr.startswith("aurea: DATABASE_URL is not set")
    assert unmigrated.stderr == "aurea: the database has no aurea-celery tables; run: aurea db upgrade\n"
