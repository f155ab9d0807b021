"""What is unreachable, full, missing or foreign: one clear line, nothing lost, the host's work unharmed."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from aurea_celery.embedded import EmbeddedValkey
from aurea_celery.models import upgrade_database
from aurea_celery.storage.audit import audit
from aurea_celery.storage.migrate import HEAD_REVISION
from tests.support.databases import Databases, connected
from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.servers import InstalledPostgres, free_port, wait_until

SCRIPT = "tests.support.script"


def run_script(installation: Installation, count: int, module: str = SCRIPT, **environ: str) -> Process:
    """Run the user's plain process to its end."""
    script = installation.run(f"script-{count}", [module, str(count)], environ)
    assert script.wait() == 0, script.log
    assert "('HELLO', 10)" in script.log, "the host's result changed"
    return script


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey that this test may stop."""
    server = EmbeddedValkey(tmp_path)
    yield server
    server.stop()


def test_a_plain_process_sends_everything_before_it_ends(installation: Installation) -> None:
    installation.writer()
    script = run_script(installation, 2_000, AUREA_SHUTDOWN_FLUSH_SECONDS="30")  # however slow the machine is

    installation.wait_for_executions(2_000)
    # Where the writer takes its time for the first receipt, the folder is left for it to clear away.
    wait_until(lambda: not list(installation.outbox.glob(f"*/{script.pid}-*")), "the script's folder gone")
    assert installation.written().token_count == 20_000
    assert installation.query("SELECT DISTINCT job_id, task_name, status FROM metrics") == [
        ("a script", "translate", "success")
    ]
    assert "aurea-celery: " not in script.log, "nothing to complain about"


def test_what_no_writer_has_committed_stays_and_is_not_counted_twice(installation: Installation) -> None:
    first = run_script(installation, 30)
    assert list(installation.outbox.glob(f"*/{first.pid}-*/*.seg")), "nobody has said that it is committed"
    assert installation.length_of("aurea_metrics") == 1
    installation.writer()  # has the plugin too: it sends what the first process left a second time
    installation.wait_for_executions(30)
    wait_until(lambda: not list(installation.outbox.glob(f"*/{first.pid}-*")), "the first one's folder gone")

    assert (installation.written().executions, installation.written().token_count) == (30, 300)
    assert audit(installation.database_url).is_clean


def test_a_broker_that_forgets(tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str) -> None:
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        worker = installation.worker("-c", "2", AUREA_RESEND_SECONDS="1")
        installation.send_many("spend", [(number, 1) for number in range(100)])
        wait_until(lambda: len(installation.truth_of("spent")) == 100, "the tasks")
        wait_until(lambda: installation.length_of("aurea_metrics") > 0, "events at the broker")

        own_valkey.stop()
        shutil.rmtree(tmp_path / "valkey")
        own_valkey.restart()
        installation.writer()
        installation.wait_for_executions(100)
        worker.stop()

        assert installation.written().token_count == sum(range(100)) + 100
        assert audit(database_url).is_clean
        assert not list(installation.outbox.glob(f"*/{worker.pid}-*")), "a folder is left behind"


def test_events_of_a_process_that_never_reached_the_broker_are_sent_by_the_next_one(installation: Installation) -> None:
    unreachable = f"redis://127.0.0.1:{free_port()}/0"
    script = run_script(installation, 3, BROKER_URL=unreachable, AUREA_BROKER_URL=unreachable)
    assert script.log.count("cannot send to the broker") == 1
    assert "Traceback" not in script.log

    # The folder belongs to a destination, so that events never go to another broker than the one they are meant for.
    folder = next(installation.outbox.glob("*"))
    run_script(installation, 4)
    assert list(folder.glob("*/*.seg")), "the first script's events are kept"


def test_broker_goes_away_and_comes_back(tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str) -> None:
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        worker = installation.worker("-c", "2")
        installation.send_many("spend", [(number, 1) for number in range(50)])
        wait_until(lambda: len(installation.truth_of("spent")) == 50, "the first tasks")
        own_valkey.stop()
        script = run_script(installation, 5)
        assert script.log.count("cannot send to the broker") == 1
        own_valkey.restart()
        installation.send_many("spend", [(number, 1) for number in range(50)])
        installation.writer()

        installation.wait_for_executions(105)

        assert installation.written().executions == 105
        assert installation.written().token_count == 2 * sum(number + 1 for number in range(50)) + 50
        assert "internal fault" not in worker.log


def test_a_broker_that_restarts_while_a_batch_is_written(
    tmp_path: Path, own_valkey: EmbeddedValkey, database_url: str
) -> None:
    """Celery's worker ends itself there: kombu closes a channel with unacknowledged messages, or acknowledges late."""
    with Installation(tmp_path, own_valkey.url, database_url) as installation:
        writer = installation.writer()
        for times in (1, 2, 3):
            with connected(database_url) as connection:
                connection.execute(sa.text("LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE"))
                run_script(installation, 20)
                wait_until(lambda: installation.length_of("aurea_metrics.unacked_index"), "a message at the writer")
                own_valkey.stop()
                own_valkey.restart()
            installation.wait_for_executions(20 * times)

        assert writer.status is None, writer.log
        assert installation.written().executions == 60
        assert audit(database_url).is_clean
        # kombu before 5.7 looks every 100 s for what was not acknowledged, whatever it is told.
        unacknowledged = "aurea_metrics.unacked_index"
        wait_until(lambda: not installation.length_of(unacknowledged), "every message acknowledged", seconds=150)


def test_database_goes_away_and_comes_back(
    tmp_path: Path, broker_url: str, system_postgres: InstalledPostgres, system_databases: Databases
) -> None:
    with system_databases.migrated() as url, Installation(tmp_path, broker_url, url) as installation:
        writer = installation.writer()
        run_script(installation, 7)
        installation.wait_for_executions(7)
        system_postgres.stop()
        run_script(installation, 8)
        writer.wait_for("is not available")
        system_postgres.start()

        installation.wait_for_executions(15)

        assert installation.written().executions == 15
        assert writer.log.count("is not available") == 1, "said once, not at every try"
        assert "Traceback" not in writer.log


def test_a_writer_that_stops_while_the_database_is_away_gives_its_messages_back(
    tmp_path: Path, broker_url: str, system_postgres: InstalledPostgres, system_databases: Databases
) -> None:
    with system_databases.migrated() as url, Installation(tmp_path, broker_url, url) as installation:
        system_postgres.stop()
        try:
            writer = installation.writer()
            run_script(installation, 9)
            writer.wait_for("INFO/MainProcess] Task aurea_celery.write_metrics")
            status = writer.end(signal.SIGTERM)
        finally:
            system_postgres.start()
        assert status == 0
        installation.writer()

        installation.wait_for_executions(9)


def test_unmigrated_and_newer_schema(tmp_path: Path, broker_url: str, empty_database_url: str) -> None:
    with Installation(tmp_path, broker_url, empty_database_url) as installation:
        writer = installation.writer()
        assert "run: aurea db upgrade; the writer waits and tries again" in writer.log
        run_script(installation, 3)
        writer.wait_for("the database has no aurea-celery tables; run: aurea db upgrade; the writer waits")
        upgrade_database(empty_database_url)
        installation.wait_for_executions(3)
        writer.stop()

        with connected(empty_database_url) as connection:
            connection.execute(sa.text("UPDATE aurea_schema_version SET version_num = '9999'"))
        newer = installation.writer()
        run_script(installation, 4)
        newer.wait_for("newer release; upgrade aurea-celery here; the writer waits and tries again")
        with connected(empty_database_url) as connection:
            connection.execute(sa.text(f"UPDATE aurea_schema_version SET version_num = '{HEAD_REVISION}'"))

        installation.wait_for_executions(7)
        assert "Traceback" not in writer.log + newer.log


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://root@localhost/x", "DATABASE_URL must start with postgresql://, not mysql://"),
        ("nonsense", "DATABASE_URL is not a URL"),
        ("", "DATABASE_URL is not set"),
    ],
)
def test_commands_with_a_wrong_database_url(installation: Installation, url: str, sentence: str) -> None:
    for command in (
        ["aurea_celery.cli", "db", "upgrade"],
        ["celery", "-A", "tests.support.user_app", "aurea", "writer"],
    ):
        process = installation.run(f"command-{command[-1]}", command, {"DATABASE_URL": url})
        assert process.wait() == 2
        assert sentence in process.log
        assert "Traceback" not in process.log


def test_upgrade_of_an_unreachable_database(installation: Installation) -> None:
    url = f"postgresql://someone:secret@127.0.0.1:{free_port()}/aurea"
    process = installation.run("upgrade", ["aurea_celery.cli", "db", "upgrade"], {"DATABASE_URL": url})
    assert process.wait() == 1
    assert "is not available: Connection refused; check that it runs" in process.log
    assert "secret" not in process.log
    assert "Traceback" not in process.log


def test_an_outbox_folder_that_cannot_be_written(installation: Installation, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    installation.writer()
    script = run_script(installation, 20, AUREA_OUTBOX_DIR=str(blocked / "outbox"))

    installation.wait_for_executions(20)

    assert script.log.count("cannot write to the outbox") == 1
    assert "set aurea_outbox_dir" in script.log
    assert "Traceback" not in script.log


def test_a_full_disk(installation: Installation) -> None:
    installation.writer()
    script = run_script(installation, 500, module="tests.support.full_disk")

    installation.wait_for_executions(500)

    assert installation.written().token_count == 5_000
    assert installation.query("SELECT DISTINCT status FROM metrics") == [("success",)], (
        "an ended execution was closed as lost"
    )
    books = installation.query("SELECT captured, written, dropped FROM metrics_sources")
    assert books == [(500, 500, {})]
    assert script.log.count("cannot write to the outbox") == 1
    assert "free some disk" in script.log


def test_messages_that_are_not_ours_are_kept_with_a_reason(installation: Installation) -> None:
    writer = installation.writer()
    app = Celery("stranger", broker=installation.broker_url)
    app.send_task("tests.support.user_app.spend", args=(1, 1), queue="aurea_metrics")
    app.send_task("nobody.knows", args=("hello",), queue="aurea_metrics")
    app.send_task("aurea_celery.write_metrics", args=("not json", 2), queue="aurea_metrics")
    app.send_task("aurea_celery.write_metrics", args=("not json",), queue="aurea_metrics")
    app.send_task("aurea_celery.write_metrics", args=('{"v": 99, "sources": []}',), queue="aurea_metrics")
    with app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(b"\xff\x00garbage", routing_key="aurea_metrics", content_type="application/octet-stream")
        producer.publish('{"truncated', routing_key="aurea_metrics", content_type="application/json")
    run_script(installation, 5)
    app.close()

    installation.wait_for_executions(5)
    wait_until(lambda: len(installation.query("SELECT FROM metrics_rejected")) == 7, "seven rejected messages")

    rejected = installation.query("SELECT reason, payload FROM metrics_rejected")
    assert all(row.reason.startswith("not a batch of events: ") for row in rejected)
    assert any("wire version 99 is not known here; upgrade the writer" in row.reason for row in rejected)
    assert {"nobody.knows", "tests.support.user_app.spend"} <= {foreign_task(row.payload) for row in rejected}
    assert installation.truth_of("begun") == [], "a task of the app ran in the writer"
    assert "metrics_rejected" in writer.log
    assert "Traceback" not in writer.log


def foreign_task(payload: str) -> str | None:
    try:
        task: str | None = json.loads(payload)["foreign_message"]["task"]
    except (ValueError, KeyError):
        return None
    return task
