"""Partitions: made ahead, the default one emptied, and both beside those who write and read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import locks, partitions, upkeep
from aurea_celery.storage.chores import Chores
from aurea_celery.storage.write import Writer
from tests.support.databases import connected, scalar
from tests.support.events import make_source
from tests.support.recorded import write
from tests.support.retention import CUT, all_sums, check_sums, ended, set_now
from tests.support.servers import wait_until

pytestmark = pytest.mark.clock("400-days")

WAIT_SECONDS = 5.0
COUNTS = sa.text(
    "SELECT (SELECT coalesce(sum(executions), 0) FROM metrics) + (SELECT coalesce(sum(executions), 0)"
    " FROM metrics_pruned) AS rows, (SELECT coalesce(sum(executions), 0) FROM metrics_jobs) AS sums"
)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    set_now(monkeypatch)


@pytest.fixture
def _writers_make_no_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row goes to the default partition, as after a time in which no writer could make others."""
    monkeypatch.setattr(Chores, "_make_partitions", lambda _chores: None)


def rows(url: str) -> list[Any]:
    with connected(url) as connection:
        return list(connection.execute(sa.text("SELECT * FROM metrics ORDER BY id")))


@pytest.mark.usefixtures("_writers_make_no_partitions")
def test_rows_move_out_of_the_default_partition_as_they_are(each_database_url: str) -> None:
    url = each_database_url
    write(url, *(ended(days, tags={"team": "a"}) for days in (0, 1, 8, 40, 300)), ended(-2_000), ended(20_000))
    before, sums = rows(url), all_sums(url)

    done = upkeep.maintain(url)

    assert list(done.moved.values()) == [1, 1, 1, 2]
    assert "metrics_p2026w40" in done.moved
    assert done.left == 2, "what ended before or after all others has a wrong clock"
    assert rows(url) == before
    assert all_sums(url) == sums
    assert upkeep.maintain(url).moved == {}
    assert indexes(url, "metrics_p2026w40") == indexes(url, "metrics_default")
    write(url, ended(0))
    assert scalar(url, "SELECT count(*) FROM metrics_p2026w40") == 3
    check_sums(url)


def indexes(url: str, table: str) -> list[str]:
    with connected(url) as connection:
        found = connection.scalars(
            sa.text("SELECT indexdef FROM pg_indexes WHERE tablename = :table"), {"table": table}
        )
        return sorted(one.split(" USING ")[1] for one in found)


def test_a_table_that_the_user_took_out_is_not_ours(database_url: str) -> None:
    write(database_url, ended(40))
    upkeep.maintain(database_url)
    with connected(database_url) as connection:
        connection.execute(sa.text("ALTER TABLE metrics DETACH PARTITION metrics_p2026w34"))
    write(database_url, ended(40))

    assert upkeep.maintain(database_url).left == 1
    assert upkeep.prune(database_url, CUT).rows == 1
    assert scalar(database_url, "SELECT count(*) FROM metrics_p2026w34") == 1


@contextmanager
def in_background(*works: Callable[[], object]) -> Iterator[None]:
    """Do some works again and again meanwhile; what one of them raises is raised at the end."""
    stop = threading.Event()

    def repeat(work: Callable[[], object]) -> None:
        while not stop.is_set():
            work()

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(repeat, work) for work in works]
        try:
            yield
        finally:
            stop.set()
    for future in futures:
        future.result()


@pytest.mark.usefixtures("_writers_make_no_partitions")
def test_beside_writers_and_readers_every_look_sees_every_row_once(
    each_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.01)
    url = each_database_url
    write(url, *(ended(days, f"job {days % 3}") for days in range(0, 90, 3)))
    writers = [Writer(url, pricing_of) for _ in range(2)]
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    looks = []
    has_written_late = threading.Event()

    def write_late_ones() -> None:  # to the default partition, of which they keep nobody out for long
        writers[0].write_events(make_source(captured=4), [ended(days, f"job {days % 3}") for days in (0, 10, 20, 300)])
        has_written_late.set()

    def write_new_ones() -> None:
        writers[1].write_events(make_source(captured=2), [ended(0, f"job {number}") for number in range(2)])

    def look() -> None:
        with engine.connect() as connection:
            looks.append(connection.execute(COUNTS).one())

    with in_background(write_late_ones, write_new_ones, look):
        assert has_written_late.wait(30)
        for _ in range(2):
            upkeep.prune(url, CUT)
            upkeep.maintain(url)
    for writer in writers:
        writer.close()
    engine.dispose()

    assert [one for one in looks if one.rows != one.sums] == []
    assert len(looks) > 3
    assert scalar(url, "SELECT sum(rows) > 20 FROM metrics_retention")
    check_sums(url)


@pytest.mark.usefixtures("_writers_make_no_partitions")
def test_several_at_once_are_one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.05)
    write(database_url, *(ended(days) for days in range(0, 90, 3)))
    with ThreadPoolExecutor(3) as pool:
        moved = [one.moved for one in pool.map(upkeep.maintain, [database_url] * 3)]
        dropped = sum(one.rows for one in pool.map(lambda _: upkeep.prune(database_url, CUT), range(3)))

    assert sum(sum(one.values()) for one in moved) == 30
    assert dropped == scalar(database_url, "SELECT sum(executions) FROM metrics_pruned") == 19
    check_sums(database_url)


@contextmanager
def reading(url: str) -> Iterator[sa.Connection]:
    """Somebody who has looked at the table and not ended the transaction."""
    with connected(url) as connection:
        connection.execute(sa.text("SELECT count(*) FROM metrics")).all()
        yield connection


def test_nobody_waits_long_while_a_drop_waits_for_a_reader(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.05)
    write(database_url, *(ended(days) for days in range(0, 60, 3)))
    upkeep.maintain(database_url)
    writer = Writer(database_url, pricing_of)
    with ThreadPoolExecutor(1) as pool:
        with reading(database_url):
            pruning = pool.submit(upkeep.prune, database_url, CUT)
            wait_until(lambda: scalar(database_url, WAITING), "the drop waiting for its lock")
            longest = 0.0
            for _ in range(20):
                begun = time.monotonic()
                writer.write_events(make_source(captured=1), [ended(0)])
                longest = max(longest, time.monotonic() - begun)
            assert not pruning.done()
        assert pruning.result().rows > 0
    writer.close()

    assert longest < locks.LOCK_TIMEOUT_MS / 1000 + WAIT_SECONDS
    check_sums(database_url)


WAITING = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"


@pytest.mark.usefixtures("_writers_make_no_partitions")
def test_what_cannot_have_its_lock_says_so_and_leaves_all_as_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "ATTEMPTS", 2)
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.0)
    write(database_url, ended(60), ended(0))
    with reading(database_url), pytest.raises(DatabaseUnavailable, match="reads or locks the tables"):
        upkeep.maintain(database_url)
    assert scalar(database_url, "SELECT count(*) FROM metrics_default") == 2
    upkeep.maintain(database_url)
    with reading(database_url), pytest.raises(DatabaseUnavailable, match="try again when that has ended"):
        upkeep.prune(database_url, CUT)

    assert scalar(database_url, "SELECT count(*) FROM metrics") == 2
    assert scalar(database_url, "SELECT count(*) FROM metrics_pruned") == 0
    check_sums(database_url)


def test_a_drop_whose_connection_is_cut_drops_nothing(database_url: str) -> None:
    write(database_url, ended(60), ended(0))
    upkeep.maintain(database_url)
    cut = "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    with ThreadPoolExecutor(1) as pool, reading(database_url):
        pruning = pool.submit(upkeep.prune, database_url, CUT)
        wait_until(lambda: scalar(database_url, cut), "the drop waiting for its lock")
        with pytest.raises(DatabaseUnavailable):
            pruning.result()

    assert scalar(database_url, "SELECT count(*) FROM metrics") == 2
    check_sums(database_url)
    assert upkeep.prune(database_url, CUT).rows == 1
    check_sums(database_url)


def test_a_writer_that_may_not_make_tables_writes_all_the_same(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("CREATE ROLE aurea_only_writes LOGIN"))
        rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
        connection.execute(sa.text(f"GRANT {rights} TO aurea_only_writes"))
        connection.execute(sa.text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO aurea_only_writes"))
        for week in partitions.weeks(connection):
            connection.execute(sa.text(f"DROP TABLE {partitions.name_of(week)}"))
    try:
        writer = Writer(sa.make_url(database_url).set(username="aurea_only_writes").render_as_string(), pricing_of)
        with caplog.at_level(logging.WARNING, "aurea_celery"):
            writer.write_events(make_source(captured=1), [ended(0)])
        writer.close()
        assert "this user may not make partitions; run as the owner: aurea db maintain" in caplog.text
        assert upkeep.maintain(database_url).moved == {"metrics_p2026w40": 1}
        check_sums(database_url)
    finally:
        with connected(database_url) as connection:
            connection.execute(sa.text("DROP OWNED BY aurea_only_writes"))
            connection.execute(sa.text("DROP ROLE aurea_only_writes"))
