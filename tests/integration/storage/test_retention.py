"""Retention: rows go, whole weeks at a time, and every sum stays what it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.cli import aurea
from aurea_celery.errors import RowsPruned
from aurea_celery.events import ModelCall, TaskEvent, Usage
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import audit, upkeep
from aurea_celery.storage.budgets import BudgetKey, list_budgets, set_budget
from aurea_celery.storage.partitions import week_of
from aurea_celery.storage.report import Scope, read_report
from aurea_celery.storage.reprice import Selection, reprice
from aurea_celery.storage.retention import first_kept, horizon
from tests.support.databases import Databases, connected, scalar
from tests.support.events import events
from tests.support.prices import own_price
from tests.support.recorded import write
from tests.support.retention import CUT, FIRST_KEPT, NOW, all_sums, check_sums, ended, set_now

pytestmark = pytest.mark.clock("400-days")

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()


def call(model: str = "gpt-4", tokens: int = 1_000) -> ModelCall:
    return ModelCall(usage=Usage(input_tokens=tokens, output_tokens=10), model=model)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    set_now(monkeypatch)


@pytest.fixture
def house(database_url: str) -> str:
    """Rows of ten weeks in their partitions; the job ``old`` has only old ones, and ``new`` only new ones."""
    fill(database_url)
    return database_url


def fill(url: str) -> None:
    write(url, *(ended(days, calls=(call(),)) for days in range(0, 70, 2)))
    write(url, *(ended(days, "old", calls=(call(), call("nobody-knows"))) for days in (60, 61)))
    write(url, ended(1, "new"), ended(2, "new", status="failure", redelivered=True, calls=(call(),)))
    upkeep.maintain(url)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.timedeltas(timedelta(0), timedelta(days=900)))
def test_the_week_of_the_cut_and_the_running_month_are_kept(now: datetime, older_than: timedelta) -> None:
    now = now.replace(tzinfo=UTC)
    kept = first_kept(now, older_than)

    assert kept == week_of(kept)
    assert kept <= now - older_than
    for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata"):
        local = now.astimezone(ZoneInfo(zone))
        assert kept <= local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert kept > min(now - older_than, now - timedelta(days=33)) - timedelta(days=7)


def test_what_is_dropped_is_said_before_and_after(house: str) -> None:
    before = all_sums(house)
    foreseen = upkeep.prune(house, CUT, dry_run=True)

    assert foreseen.before == FIRST_KEPT
    assert foreseen.rows == 23
    assert foreseen.bytes > 0
    assert [one.partition for one in foreseen.dropped] == [f"metrics_p2026w{week}" for week in range(30, 36)]
    assert scalar(house, "SELECT count(*) FROM metrics") == 41, "a dry run changed something"

    assert upkeep.prune(house, CUT) == foreseen
    assert scalar(house, "SELECT count(*) FROM metrics") == 18
    assert scalar(house, "SELECT min(created_at) FROM metrics") == NOW - timedelta(days=30)
    assert scalar(house, "SELECT sum(rows) FROM metrics_retention") == 23
    assert all_sums(house) == before
    check_sums(house)
    assert upkeep.prune(house, CUT).dropped == []


def test_what_is_made_anew_is_what_was(each_database_url: str) -> None:
    fill(each_database_url)
    before = all_sums(each_database_url)
    upkeep.prune(each_database_url, CUT)
    upkeep.rebuild(each_database_url)

    assert all_sums(each_database_url) == before
    check_sums(each_database_url)


@pytest.mark.parametrize("job", ["old", "job", "new"])
def test_a_wrong_sum_of_a_job_is_found_and_made_right_though_its_rows_are_dropped(house: str, job: str) -> None:
    before = all_sums(house)
    upkeep.prune(house, CUT)
    with connected(house) as connection:
        connection.execute(sa.text("UPDATE metrics_jobs SET calls = calls + 1 WHERE job_id = :job"), {"job": job})
        connection.execute(sa.text("DELETE FROM metrics_job WHERE job_id = :job"), {"job": job})

    assert audit.audit(house).rollup_differences.keys() == {"metrics_job", "metrics_jobs"}
    upkeep.rebuild(house)
    assert all_sums(house) == before


def test_late_rows_are_counted_and_dropped_the_next_time(house: str) -> None:
    upkeep.prune(house, CUT)
    write(house, ended(55, "old", calls=(call(),)), ended(300), ended(3_000, "other"), ended(-900, "of a wrong clock"))
    check_sums(house)
    before = all_sums(house)

    dropped = upkeep.prune(house, CUT).dropped

    assert [(one.partition, one.rows) for one in dropped] == [("metrics_default", 3)]
    assert all_sums(house) == before
    check_sums(house)
    assert scalar(house, "SELECT count(*) FROM metrics_default") == 1
    assert scalar(house, "SELECT executions FROM metrics_jobs WHERE job_id = 'old'") == 3


def change_price(url: str) -> None:
    with connected(url) as connection:
        from aurea_celery.storage.prices import set_prices

        set_prices(connection, [own_price("gpt-4", input="1", output="1"), own_price("nobody-knows", input="3")])
    reprice(url, pricing_of, Selection())


STEPS: dict[str, Callable[[str], object]] = {
    "prune": lambda url: upkeep.prune(url, CUT),
    "prune more": lambda url: upkeep.prune(url, timedelta(0)),
    "maintain": upkeep.maintain,
    "rebuild": upkeep.rebuild,
    "reprice": change_price,
}


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)) | st.lists(events(), min_size=1, max_size=4), min_size=3, max_size=8))
def test_rows_and_what_was_dropped_are_the_sums_whatever_happens(
    databases: Databases, steps: list[str | list[TaskEvent]]
) -> None:
    with databases.migrated() as url, connected(url) as connection:
        for key in (BudgetKey(job="*", task="", period="job"), BudgetKey(job="", task="", period="month")):
            set_budget(connection, key, Decimal(1))
        connection.commit()
        written = 0
        for step in steps:
            if isinstance(step, str):
                before = all_sums(url)
                STEPS[step](url)
                assert step == "reprice" or all_sums(url) == before
            else:
                write(url, *step)
                written += len(step)
            check_sums(url)
        assert scalar(url, "SELECT coalesce(sum(executions), 0) FROM metrics_jobs") == written


def test_budgets_count_what_was_dropped(house: str) -> None:
    keys = [
        BudgetKey(job="job", task="", period="job"),
        BudgetKey(job="*", task="app.*", period="job"),
        BudgetKey(job="", task="", period="month"),
    ]

    def spent() -> list[tuple[Decimal, int, int]]:
        with connected(house) as connection:
            for key in keys:
                set_budget(connection, key, Decimal(1))
            return [(one.spent_usd, one.total_tokens, one.unpriced_tokens) for one in list_budgets(connection)]

    before = spent()
    assert before[1][0] > 0
    upkeep.prune(house, timedelta(days=1))

    assert spent() == before
    check_sums(house)


def test_repricing_changes_what_is_there_and_nothing_else(house: str) -> None:
    upkeep.prune(house, CUT)
    before = scalar(house, "SELECT cost_estimate FROM metrics_jobs WHERE job_id = 'old'")
    change_price(house)

    assert scalar(house, "SELECT cost_estimate FROM metrics_jobs WHERE job_id = 'old'") == before
    check_sums(house)
    upkeep.rebuild(house)
    check_sums(house)


def test_a_report_by_job_does_not_leave_out_what_was_dropped(house: str) -> None:
    long_ago = NOW - timedelta(days=65)
    with connected(house) as connection:
        before = read_report(connection, Scope(since=long_ago, by="task"))
        ever = read_report(connection, Scope(by="job"))
    upkeep.prune(house, CUT)

    with connected(house) as connection:
        assert read_report(connection, Scope(since=long_ago, by="task")) == before
        assert read_report(connection, Scope(by="job")) == ever
        assert read_report(connection, Scope(since=FIRST_KEPT, by="job")).spent.count == 18
        with pytest.raises(RowsPruned, match=r"not known from before 2026-08-31, .*; ask from that day on"):
            read_report(connection, Scope(since=long_ago, by="job"))


def run(url: str, *command: str, **environ: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url, "AUREA_RETENTION_DAYS": None, **environ}).invoke(aurea, command)


def test_the_command_says_what_it_dropped(house: str) -> None:
    foreseen, done = run(house, "prune", "--older-than", "30d", "--dry-run"), run(house, "prune", "--older-than", "30d")

    assert (foreseen.exit_code, done.exit_code) == (0, 0)
    first, names, *lines = done.stdout.splitlines()
    assert first.startswith("Dropped 23 rows from before 2026-08-31, ")
    assert first.endswith("KiB; their sums stay.")
    assert names.split() == ["partition", "rows", "size", "from"]
    assert lines[0].startswith("metrics_p2026w30               2 ")
    assert lines[-1].endswith("2026-08-25 12:00 to 2026-08-29 12:00") or len(lines) == 6
    assert foreseen.stdout.replace("Would drop", "Dropped") == done.stdout
    again = run(house, "prune", AUREA_RETENTION_DAYS="30")
    assert (again.exit_code, again.stdout) == (0, "There is nothing from before 2026-08-31 to drop.\n")


def test_the_page_shows_what_is_said(house: str) -> None:
    shown = PAGE.split("$ aurea prune --older-than 90d\n")[1].split("```")[0].splitlines()
    said = run(house, "prune", "--older-than", "30d").stdout.splitlines()

    assert [form(line) for line in shown[:3]] == [form(line) for line in said[:3]]


def form(line: str) -> str:
    """A line with its figures and sizes made the same."""
    return " ".join(re.sub(r"[KMG]iB", "B", re.sub(r"\d[\d,.:-]*", "0", line)).split())


@pytest.mark.parametrize("arguments", [[], ["--older-than", "90"], ["--older-than", "0d"], ["--older-than", "-1d"]])
def test_how_old_has_to_be_said(database_url: str, arguments: list[str]) -> None:
    found = run(database_url, "prune", *arguments, AUREA_RETENTION_DAYS="90" if arguments else "")

    assert found.exit_code == 2
    assert "90d" in found.stderr


def test_check_compares_what_can_be_compared(house: str) -> None:
    upkeep.prune(house, CUT)

    found = run(house, "db", "check")

    with connected(house) as connection:
        assert horizon(connection) == FIRST_KEPT
    assert found.stdout.splitlines()[-1] == (
        "Every sum agrees with its rows from 2026-08-31 on; of what was dropped, with what is kept."
    )
