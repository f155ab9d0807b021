"""A host whose clock is wrong deletes nothing: not a row, not a sum, not an id that a client gave."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from aurea_celery.cli import aurea
from aurea_celery.clock import new_event_id, to_us
from aurea_celery.errors import ClocksDiffer
from aurea_celery.events import TaskEvent
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import chores, condensed, upkeep
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.selection import Selection
from aurea_celery.storage.totals import read_totals
from aurea_celery.storage.write import Writer
from tests.support.databases import connected, scalar
from tests.support.events import make_source
from tests.support.installation import Installation
from tests.support.recorded import execution, write
from tests.support.servers import wait_until

PACKAGE = Path(__file__).parents[3] / "aurea_celery"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CLOCKS = [timedelta(days=200), timedelta(days=-200), timedelta(seconds=330)]
AGES = (1, 20, 60, 80, 98, 140, 190)
_true_time_ns = time.time_ns


def shift(monkeypatch: pytest.MonkeyPatch, difference: timedelta) -> None:
    """Make this host's clock wrong; the database's is not."""
    offset_ns = int(difference.total_seconds() * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: _true_time_ns() + offset_ns)


def ended(days: float) -> TaskEvent:
    return execution(ended_at_us=to_us(datetime.now(UTC) - days * DAY))


def fill(url: str) -> None:
    """Rows of half a year in their partitions, and their hours condensed."""
    write(url, *map(ended, AGES))
    upkeep.maintain(url)


def hours(url: str) -> list[datetime]:
    with connected(url) as connection:
        return list(connection.scalars(sa.text("SELECT DISTINCT starts_at FROM metrics_1h ORDER BY 1")))


def executions(url: str) -> int:
    """What a chart by the hour of the last 99 days shows."""
    since = (datetime.now(UTC) - 99 * DAY).replace(minute=0, second=0, microsecond=0)
    points = [since + number * HOUR for number in range(100 * 24)]
    with connected(url) as connection:
        return read_totals(connection, Selection(since=since, until=points[-1])).total_tasks


@pytest.mark.parametrize("difference", CLOCKS)
def test_hours_that_are_kept_stay(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, difference: timedelta
) -> None:
    fill(database_url)
    before = hours(database_url)
    assert len(before) == 5
    shift(monkeypatch, difference)
    monkeypatch.setattr(chores, "CONDENSE_EVERY_SECONDS", 0.0)
    writer = Writer(database_url, pricing_of)

    for days in (30, 40):
        writer.write_events(make_source(captured=1), [ended(days)])
    writer.write_events(make_source(captured=1), [ended(0)])
    writer.close()

    assert set(before) < set(hours(database_url))
    assert executions(database_url) == 8
    assert "nothing is deleted; correct the one that is wrong" in caplog.text


@pytest.mark.parametrize("difference", CLOCKS)
def test_rows_are_not_pruned(database_url: str, monkeypatch: pytest.MonkeyPatch, difference: timedelta) -> None:
    fill(database_url)
    shift(monkeypatch, difference)

    for is_dry in (True, False):
        with pytest.raises(
            ClocksDiffer, match=r"the clocks of this host \(20.* UTC\) and of the database \(20.* UTC\)"
        ):
            upkeep.prune(database_url, 90 * DAY, dry_run=is_dry)
    found = CliRunner(env={"DATABASE_URL": database_url}).invoke(aurea, ["prune", "--older-than", "90d"])

    assert found.exit_code == 1
    assert re.fullmatch(r"aurea: the clocks of .* differ by .*, so that nothing is deleted; correct .*\n", found.stderr)
    assert scalar(database_url, "SELECT count(*) FROM metrics") == len(AGES)
    assert scalar(database_url, "SELECT count(*) FROM metrics_retention") == 0


def test_a_clock_that_is_a_little_off_is_borne(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database_url)
    shift(monkeypatch, timedelta(seconds=-280))

    assert upkeep.prune(database_url, 90 * DAY).rows == 3


def test_old_ids_of_clients_are_forgotten_while_the_clocks_agree(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database_url, pricing_of)
    post(writer)
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE metrics_posted SET posted_at = posted_at - interval '31 days'"))

    with monkeypatch.context() as wrong:
        shift(wrong, -DAY)
        post(writer)
        assert scalar(database_url, "SELECT count(*) FROM metrics_posted") == 2
    post(writer)
    writer.close()

    assert scalar(database_url, "SELECT count(*) FROM metrics_posted") == 2


def post(writer: Writer) -> None:
    """Write an event as the API does whose client gave an id."""
    event = execution()
    writer.write_events(make_source(captured=1), [event], {event.event_id: new_event_id().encode()})


def test_partitions_are_made_for_the_databases_weeks(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scalar(database_url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'metrics_p20%' AND relkind = 'r'")
    shift(monkeypatch, 200 * DAY)

    write(database_url, ended(0))
    assert upkeep.maintain(database_url).made == []

    count = "SELECT count(*) FROM pg_class WHERE relname LIKE 'metrics_p20%' AND relkind = 'r'"
    assert scalar(database_url, count) == before


def test_the_databases_clock_says_what_is_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database_url)
    for module in (condensed, upkeep):
        monkeypatch.setattr(module, "database_now", lambda _: datetime.now(UTC) + 50 * DAY)

    assert upkeep.prune(database_url, 90 * DAY, dry_run=True).rows == 5
    engine = create_engine(database_url)
    write(database_url, ended(10))
    condensed.condense(engine)
    engine.dispose()
    assert len(hours(database_url)) == 3


def test_a_writer_and_a_command_on_a_host_200_days_ahead(installation: Installation) -> None:
    fill(installation.database_url)
    clock = installation.folder / "clock"
    clock.write_text(f"{200 * 86_400}")
    app = "tests.support.clock_app"
    writer = installation.writer(app=app, CLOCK=str(clock))
    beat = installation.run("beat", ["celery", "-A", "tests.support.pruned_app", "beat", "-s", f"{clock}-schedule"])

    writer.wait_for("nothing is deleted; correct the one that is wrong; rows are pruned the next time")
    command = ["celery", "-A", app, "aurea", "prune", "--older-than", "90d"]
    assert installation.run("prune", command, {"CLOCK": str(clock)}).wait() == 1
    assert len(installation.query("SELECT 1 FROM metrics")) == len(AGES)

    clock.write_text("0")
    wait_until(lambda: len(installation.query("SELECT 1 FROM metrics")) < len(AGES), "the right clock to prune")
    beat.stop()


def test_only_the_databases_clock_is_asked_where_something_is_deleted() -> None:
    asking = re.compile(r"\bnow_us\(|\bdatetime\.now\(|\btime\.time(_ns)?\(|\butcnow\(|\bdate\.today\(")
    sources = [*(PACKAGE / "storage").rglob("*.py"), PACKAGE / "pruner.py", PACKAGE / "commands" / "prune.py"]

    found = [path.name for path in sources if asking.search(path.read_text())]

    assert found == ["database_clock.py"]
