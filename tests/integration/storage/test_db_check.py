"""``aurea db check`` and ``aurea db maintain``: what they say, and their exit status."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from aurea_celery.clock import now_us
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.storage import condition, database, partitions
from aurea_celery.storage.database import create_engine, translating
from tests.support.databases import connected
from tests.support.recorded import execution, write

pytestmark = pytest.mark.clock("400-days")

DAY_US = 86_400_000_000
ROOT = Path(__file__).parents[3]


def run(url: str, *command: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, command)


def test_all_is_well(each_database_url: str) -> None:
    write(each_database_url, execution())

    found = run(each_database_url, "db", "check")

    assert found.exit_code == 0
    schema, tables, made, default, hours, sums = found.stdout.splitlines()
    assert schema == "The schema is that of this release (0001)."
    assert tables == "The tables are those of this release."
    assert made.startswith("Partitions are made until 20")
    assert default == "The default partition is empty."
    assert sums == "Every sum agrees with its rows."
    assert hours == "Every hour that is over is condensed."


def test_rows_in_the_default_partition_are_said_and_moved(database_url: str) -> None:
    write(database_url, *(execution(ended_at_us=now_us() - days * DAY_US) for days in (0, 40, 40)))
    write(database_url, execution(ended_at_us=10**15))

    found = run(database_url, "db", "check")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[3] == (
        "3 rows are in the default partition; move what has a usual date: aurea db maintain."
    )
    assert found.stdout.splitlines()[4] == (
        "1 hour that is over waits to be condensed by a writer, or by: aurea db maintain."
    )
    said = "3 rows are in the default partition, which is harmless; aurea db check says more."
    assert run(database_url, "check").stdout.splitlines()[1] == said

    done = run(database_url, "db", "maintain")
    assert done.exit_code == 0
    first, moved, left, condensed = done.stdout.splitlines()
    assert first == "Partitions were made ahead already."
    assert moved.startswith("Moved 2 rows into metrics_p20")
    assert left == "The default partition holds 1 row of a clock that was quite wrong."
    assert condensed == "1 hour that is over is condensed."
    found = run(database_url, "db", "check")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[3] == "1 row is in the default partition, of a clock that was quite wrong."


def test_partitions_that_run_out_are_said(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    later = datetime.now(UTC) + (partitions.WEEKS_AHEAD + 1) * partitions.WEEK
    monkeypatch.setattr(condition, "database_now", lambda _: later)

    found = run(database_url, "db", "check")

    assert found.exit_code == 1
    assert found.stdout.splitlines()[2].endswith(" only; make more: aurea db maintain.")


def test_wrong_sums_are_said(database_url: str) -> None:
    write(database_url, execution(), execution("job_456"))
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_job SET cost_estimate = cost_estimate + 1"))

    found = run(database_url, "db", "check")

    assert found.exit_code == 1
    assert found.stdout.splitlines()[-1] == (
        "Sums differ from their rows, 2 of metrics_job; make them anew: aurea db rebuild."
    )
    assert run(database_url, "db", "rebuild").exit_code == 0
    assert run(database_url, "db", "check").exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP INDEX metrics_tags_idx", "the index metrics_tags_idx is missing"),
        ("ALTER TABLE metrics_jobs DROP COLUMN calls", "the column metrics_jobs.calls is missing"),
        ("ALTER TABLE metrics_sources ALTER pid TYPE int", "the column metrics_sources.pid is different"),
        ("DROP TABLE metrics_rejected", "the table metrics_rejected is missing"),
        ("ALTER TABLE budgets DROP CONSTRAINT budgets_usd_check", "the constraint budgets_usd_check is missing"),
    ],
)
def test_tables_that_are_not_ours_any_more_are_said(database_url: str, change: str, said: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text(change))

    found = run(database_url, "db", "check")

    assert found.exit_code == 1
    advice = "put back what is missing, or make a new database"
    assert found.stdout.splitlines()[1].startswith(f"The tables are not those of this release ({said}); they ")
    assert found.stdout.splitlines()[1].endswith(f"{advice}.")
    assert found.stdout.splitlines()[4] == "The sums were not compared."

    upgrade = run(database_url, "db", "upgrade")
    assert (upgrade.exit_code, upgrade.stdout) == (1, "")
    assert f"are not its own ({said}); they were made by another build" in upgrade.stderr
    assert upgrade.stderr.endswith(f"{advice}\n")


@pytest.mark.parametrize("change", ["DROP TABLE metrics_1h", "ALTER TABLE metrics_sources DROP COLUMN lost"])
def test_check_does_not_send_to_an_upgrade_that_changes_nothing(database_url: str, change: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text(change))

    found = run(database_url, "check")

    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == (
        "aurea: the database's tables are not those of this release; aurea db check says what is missing,"
        " and what to do\n"
    )


def test_what_the_user_has_added_is_no_fault(database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("CREATE TABLE mine (a int); ALTER TABLE metrics_jobs ADD COLUMN team text"))
        connection.execute(sa.text("CREATE INDEX mine_too ON metrics (queue)"))

    assert run(database_url, "db", "check").exit_code == 0


def test_without_tables_one_sentence_is_said(empty_database_url: str) -> None:
    found = run(empty_database_url, "db", "check")

    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "aurea: the database has no aurea-celery tables; run: aurea db upgrade\n"


def test_a_statement_that_hangs_is_cancelled_and_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.LIMITS, "statement_timeout", "100ms")
    engine = create_engine(database_url)
    with (
        pytest.raises(DatabaseUnavailable, match="canceling statement due to statement timeout"),
        translating(database_url),
        engine.connect() as connection,
    ):
        connection.execute(sa.text("SELECT pg_sleep(60)"))
    engine.dispose()


def test_more_than_the_pool_wait_and_are_told(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=2)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]  # of this kind of pool
    busy = pytest.raises(DatabaseUnavailable, match="all connections to the database are busy")
    with engine.connect(), engine.connect(), busy, translating(database_url):
        engine.connect()
    engine.dispose()


def test_the_page_shows_what_is_said(database_url: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    shown = page.split("$ aurea db check\n")[1].split("```")[0].splitlines()
    (search,) = (one for one in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if one.startswith("SELECT"))

    said = run(database_url, "db", "check").stdout.splitlines()
    with connected(database_url) as connection:
        connection.execute(sa.text(search.replace('":', r'"\:')))

    assert [re.sub(r"\d{4}-\d\d-\d\d", "", line) for line in said] == [
        re.sub(r"\d{4}-\d\d-\d\d", "", line) for line in shown
    ]
