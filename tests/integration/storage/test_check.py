"""``aurea check`` of a database alone: what it says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery import price_lists
from aurea_celery.cli import aurea
from aurea_celery.events import encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.write import Writer
from tests.support.databases import connected
from tests.support.recorded import execution, make_old, source, write

pytestmark = pytest.mark.clock("leap-day")


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ``.env`` of the working directory, no database of the environment, and no list prices that grow old."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(price_lists, "STALE_DAYS", float("inf"))
    for name in ("DATABASE_URL", "AUREA_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


def run(url: str | None, *command: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, command)


def check(url: str | None, *options: str) -> Result:
    return run(url, "check", *options)


def first_line(found: Result) -> str:
    return found.stdout.splitlines()[0]


def test_all_is_accounted_for(database_url: str) -> None:
    write(database_url, execution(), execution())

    found = check(database_url)

    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "Everything is accounted for: 2 executions captured, 2 written.",
        "",
        "                 captured   published     written    rejected     dropped     pending  duplicates",
        "all processes           2           2           2           0           0           0           0",
    ]


def test_what_was_rejected_is_accounted_for_and_said(database_url: str) -> None:
    writer = Writer(database_url, pricing_of)
    writer.write(encode_batch([(source(captured=1), [b'{"event_id": "wrong"}'])]).decode())
    writer.close()

    found = check(database_url)

    assert found.exit_code == 0
    assert first_line(found) == (
        "Everything is accounted for: 1 execution captured, 0 written, 1 rejected (see the table metrics_rejected)."
    )


def test_nobody_has_ever_written(database_url: str) -> None:
    found = check(database_url)

    assert found.exit_code == 4
    assert first_line(found) == (
        "Nobody is writing: no writer has ever written to this database; start one: celery -A yourapp aurea writer."
    )


def test_what_comes_through_the_api_needs_no_writer(database_url: str) -> None:
    writer = Writer(database_url, pricing_of)
    writer.write_events(source(captured=1), [execution()])
    writer.close()

    assert first_line(check(database_url)) == "Everything is accounted for: 1 execution captured, 1 written."


def test_nobody_has_written_for_long_and_something_is_missing(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=13))
    make_old(database_url, "14 minutes")

    found = check(database_url)

    assert found.exit_code == 4
    assert first_line(found) == (
        "Nobody is writing: the last write is 14 minutes old and 12 executions are missing;"
        " start one: celery -A yourapp aurea writer."
    )


def test_what_is_on_its_way(database_url: str) -> None:
    write(database_url, execution(), execution(), sender=source(captured=3))

    found = check(database_url)

    assert found.exit_code == 3
    assert first_line(found) == (
        "1 execution is on its way: to see where, name the app: celery -A yourapp aurea check."
    )


def test_what_was_dropped_is_said_with_its_process_and_reason(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=4, outbox_full=3))

    found = check(database_url)

    assert found.exit_code == 1
    assert first_line(found) == "3 executions were dropped on host test (pid 1): the outbox was full."


def test_several_processes_and_reasons(database_url: str) -> None:
    write(database_url, sender=source(captured=3, outbox_full=2, memory_full=1))
    for _ in range(3):
        write(database_url, sender=source(captured=1, outbox_full=1))

    found = check(database_url)

    assert first_line(found) == (
        "6 executions were dropped on host test (pid 1), test (pid 1), test (pid 1) and 1 more:"
        " 1 because the disk could not be written and memory was full, 5 because the outbox was full."
    )


def test_every_process_is_shown_if_asked_for(database_url: str) -> None:
    write(database_url, execution(), execution())
    write(database_url, execution(), sender=msgspec.structs.replace(source(captured=1, damaged=1), pid=22))

    lines = check(database_url, "--by-process").stdout.splitlines()

    assert lines[-3:] == [
        "all processes           4           3           3           0           1           0           0",
        "test pid 1              2           2           2           0           0           0           0",
        "test pid 22             2           1           1           0           1           0           0",
    ]


def test_a_wrong_sum_is_said_with_its_table(database_url: str) -> None:
    write(database_url, execution(), execution("job_456"))
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_job SET cost_estimate = cost_estimate + 1"))

    found = check(database_url)

    assert found.exit_code == 1
    assert first_line(found) == "2 sums of metrics_job differ from their rows; make them anew: aurea db rebuild."
    rebuilt = run(database_url, "db", "rebuild")
    assert (rebuilt.exit_code, rebuilt.stdout) == (0, "Every sum is made anew from its rows.\n")
    assert check(database_url).exit_code == 0


def test_the_worst_is_said_first_and_the_rest_below(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=4, outbox_full=1))

    lines = check(database_url).stdout.splitlines()

    assert lines[0].startswith("1 execution was dropped")
    assert lines[1].startswith("2 executions are on their way")


def test_machines_get_json(database_url: str) -> None:
    write(database_url, execution(), sender=source(captured=2, outbox_full=1))

    found = check(database_url, "--json", "--by-process")

    assert found.exit_code == 1
    answer = json.loads(found.stdout)
    assert answer.pop("last_write").endswith("Z")
    assert answer.pop("list_prices").keys() == {"edition", "age_days"}
    books = {
        "captured": 2,
        "published": 1,
        "written": 1,
        "rejected": 0,
        "pending": 0,
        "dropped": 1,
        "duplicates": 0,
        "dropped_by_reason": {"outbox_full": 1},
    }
    assert answer == {
        "status": "dropped",
        "findings": [
            {"kind": "dropped", "sentence": "1 execution was dropped on host test (pid 1): the outbox was full."}
        ],
        "books": books | {"excluded": 0, "sampled_out": 0},
        "rollup_differences": {},
        "rows_in_default_partition": 0,
        "writer": "writing",
        "queue_messages": None,
        "outbox": None,
        "processes": [{"host": "test", "pid": 1} | books],
    }


def test_a_missing_database_is_said(empty_database_url: str) -> None:
    unnamed, unmigrated = check(None), check(empty_database_url)

    assert (unnamed.exit_code, unmigrated.exit_code) == (2, 1)
    assert unnamed.stderr.startswith("aurea: DATABASE_URL is not set")
    assert unmigrated.stderr == "aurea: the database has no aurea-celery tables; run: aurea db upgrade\n"
