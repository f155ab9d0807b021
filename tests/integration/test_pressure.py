"""A writer that is slow, waits, or is not there: no copies without bound, no spinning, no flood of lines."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from aurea_celery.storage.audit import audit
from tests.support.databases import Databases, connected
from tests.support.installation import Installation
from tests.support.processes import Process, session_of
from tests.support.servers import InstalledPostgres, wait_until

QUEUE, HELD = "aurea_metrics", "aurea_metrics.unacked_index"
VISIBILITY = {"AUREA_WRITER_VISIBILITY_TIMEOUT_SECONDS": "1"}
NO_QUESTIONS = {"AUREA_BUDGET_REFRESH_SECONDS": "0"}
RECEIVED = "Task aurea_celery.write_metrics["
SCRIPT = "tests.support.script"


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """One whose processes send nothing but events, since messages are counted here."""
    installation.settings |= NO_QUESTIONS
    return installation


def cpu_seconds(process: Process) -> float:
    """What a process and its children have spent so far."""
    ticks = [
        sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        for pid in session_of(process.pid)
    ]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def received(writer: Process) -> int:
    """How often the writer was handed a message."""
    return sum(RECEIVED in line and line.endswith("received") for line in writer.log.splitlines())


def pass_time(installation: Installation, seconds: float) -> None:
    """Let the broker's clock, which the visibility timeout goes by, move on."""
    with connected(installation.database_url) as connection:
        connection.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


def run_scripts(installation: Installation, counts: list[int], **environ: str) -> None:
    """Run the user's plain process several times; each sends at least a message of its own."""
    for count in counts:
        script = installation.run(f"script-{count}", [SCRIPT, str(count)], environ)
        assert script.wait() == 0, script.log


def test_a_batch_that_takes_longer_than_the_visibility_timeout_is_handed_out_once(installation: Installation) -> None:
    slow, other = installation.writer(**VISIBILITY), installation.writer(**VISIBILITY)
    with connected(installation.database_url) as connection:
        connection.execute(sa.text("LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE"))
        run_scripts(installation, [10, 11, 12], AUREA_KEEP_SENT_SECONDS="0")
        wait_until(lambda: received(slow) + received(other) == 3, "all messages at the writers")
        pass_time(installation, 4)
        assert installation.length_of(HELD) == 3
    installation.wait_for_executions(33)
    wait_until(lambda: not installation.length_of(HELD), "every message acknowledged")

    assert received(slow) + received(other) == 3
    assert installation.query("SELECT sum(written), sum(duplicates) FROM metrics_sources")[0] == (33, 0)


def test_a_long_outage_of_the_database(
    tmp_path: Path, broker_url: str, system_postgres: InstalledPostgres, system_databases: Databases, database_url: str
) -> None:
    with (
        system_databases.migrated() as url,
        Installation(tmp_path, broker_url, url) as installation,
        Installation(tmp_path, broker_url, database_url) as clock,
    ):
        installation.settings |= NO_QUESTIONS
        writer = installation.writer(**VISIBILITY)
        run_scripts(installation, [1], AUREA_KEEP_SENT_SECONDS="0")  # or it is sent once more when that ends
        installation.wait_for_executions(1)
        system_postgres.stop()
        try:
            run_scripts(installation, [10, 11, 12, 13, 14, 15], AUREA_RESEND_SECONDS="1")
            writer.wait_for("is not available")
            wait_until(lambda: received(writer) == 1 + 4, "as many messages as it takes at a time")
            before, lines = cpu_seconds(writer), len(writer.log.splitlines())
            pass_time(clock, 6)
            spent, said = cpu_seconds(writer) - before, len(writer.log.splitlines()) - lines
            assert spent < 2.0, "it spins"
            assert said <= 4, "a flood of lines"
            assert received(writer) == 1 + 4, "messages are handed out again"
        finally:
            system_postgres.start()
        installation.wait_for_executions(76)

        wait_until(lambda: not installation.length_of(QUEUE) + installation.length_of(HELD), "an empty queue")
        assert audit(url).is_clean
        assert writer.log.count("is not available") <= 2


def test_a_writer_that_is_stopped_finishes_its_batch(installation: Installation) -> None:
    writer = installation.writer()
    with connected(installation.database_url) as connection:
        connection.execute(sa.text("LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE"))
        run_scripts(installation, [10, 11], AUREA_KEEP_SENT_SECONDS="0")
        wait_until(lambda: received(writer) == 2, "both messages at the writer")
        writer.send(signal.SIGTERM)
        writer.wait_for("Warm shutdown")
    assert writer.wait() == 0

    assert installation.written().executions >= 10
    assert installation.written().executions + 11 * installation.length_of(QUEUE) >= 21


def test_without_a_writer_the_broker_is_not_filled(installation: Installation) -> None:
    """Two processes record much more than the queue and their outboxes may hold, and send what is lost again."""
    limits = {
        "AUREA_QUEUE_MAX_MESSAGES": "20",
        "AUREA_BATCH_EVENTS": "50",
        "AUREA_OUTBOX_MAX_BYTES": str(1024 * 1024),
        "AUREA_FLUSH_INTERVAL_SECONDS": "0.01",
        "AUREA_RESEND_SECONDS": "1",
    }
    for count in (6_000, 6_001):
        run_scripts(installation, [count], **limits)
        assert installation.length_of(QUEUE) <= 20 + 2
    outbox_bytes = sum(path.stat().st_size for path in installation.outbox.rglob("*.seg"))
    assert outbox_bytes < 2 * 1.3 * 1024 * 1024
    assert "messages wait in aurea_metrics" in (installation.folder / "script-6001.log").read_text()

    installation.writer()  # has the plugin too, and takes over what the others left
    wait_until(lambda: is_accounted_for(installation, 12_001), "every event written or counted as dropped", seconds=120)
    assert audit(installation.database_url).rollup_differences == {}


def is_accounted_for(installation: Installation, events: int) -> bool:
    books = audit(installation.database_url).books
    return books.captured == events and books.pending == 0
