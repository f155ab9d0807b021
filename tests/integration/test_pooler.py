"""Through PgBouncer in transaction mode everything is as it is without: its clients share one session of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner, Result

from aurea_api import create_app
from aurea_celery.cli import aurea
from aurea_celery.clock import now_us
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.events import encode, encode_batch
from aurea_celery.models import upgrade_database
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.database import check_database, parse_url
from aurea_celery.storage.write import Writer
from tests.support.api import METRIC, get, post
from tests.support.databases import Databases, scalar
from tests.support.events import make_source
from tests.support.installation import Installation
from tests.support.recorded import execution
from tests.support.servers import InstalledPgbouncer, wait_until

DAY_US = 86_400_000_000


@pytest.fixture(params=["public", "aurea"])
def pooled_url(
    request: pytest.FixtureRequest, system_databases: Databases, pgbouncer: InstalledPgbouncer
) -> Iterator[str]:
    """The URL through PgBouncer of a database that was migrated through it; in a schema of its own, too."""
    with system_databases.empty() as url:
        pooled = parse_url(url).set(drivername="postgresql", port=pgbouncer.port).render_as_string(hide_password=False)
        if request.param != "public":
            with psycopg2.connect(pooled) as raw, raw.cursor() as cursor:
                cursor.execute(f"CREATE SCHEMA {request.param}")
            raw.close()
            pooled += f"?options=-csearch_path%3D{request.param}"
        upgrade_database(pooled)
        yield pooled


def plain(url: str) -> str:
    """A URL without options, which PgBouncer refuses."""
    return url.partition("?")[0]


def schema_of(url: str) -> str:
    return url.partition("search_path%3D")[2] or "public"


def message(*, days_ago: int = 0) -> str:
    event = execution(ended_at_us=now_us() - days_ago * DAY_US)
    return encode_batch([(make_source(captured=1), [encode(event)])]).decode()


def test_writers_share_a_session_with_each_other_and_with_the_app(pooled_url: str) -> None:
    writers = [Writer(pooled_url, pricing_of) for _ in range(2)]
    app = psycopg2.connect(plain(pooled_url))
    app.autocommit = True
    cursor = app.cursor()
    for statement in ("CREATE TEMP TABLE incoming (a int)", "PREPARE aurea_insert AS SELECT 1", None, "DISCARD ALL"):
        for writer in writers:
            writer.write(message())
        if statement:
            cursor.execute(statement)
    cursor.execute("SHOW statement_timeout")
    assert cursor.fetchone() == ("0",), "nothing of ours remains in a session that is others' too"
    app.close()
    for writer in writers:
        writer.close()

    assert scalar(plain(pooled_url), f"SELECT sum(executions)::int FROM {schema_of(pooled_url)}.metrics") == 8


def test_the_api_reads_and_writes(pooled_url: str) -> None:
    client = create_app(pooled_url).test_client()

    assert post(client, METRIC).status == 201
    assert get(client, "/metrics/jobs").body["jobs"][0]["job_id"] == METRIC["job_id"]
    assert get(client, "/health").status == 200
    exported = client.get("/metrics/export.csv")
    assert exported.status_code == 200
    assert len(exported.data.splitlines()) == 2


def run(url: str, *command: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, command)


def test_every_command_works(pooled_url: str) -> None:
    writer = Writer(pooled_url, pricing_of)
    for days_ago in (0, 0, 200):
        writer.write(message(days_ago=days_ago))
    for command in (
        ("db", "upgrade"),
        ("db", "maintain"),
        ("prices", "set", "gpt-4", "--input", "1", "--output", "2"),
        ("reprice",),
        ("budget", "set", "--usd", "5", "--period", "month"),
        ("prune", "--older-than", "90d"),
        ("report",),
        ("export", "--format", "csv"),
        ("db", "rebuild"),
        ("db", "maintain"),
        ("db", "check"),
        ("check",),
    ):
        done = run(pooled_url, *command)
        assert (command, done.exit_code, done.output) == (command, 0, done.output)
        writer.write(message())
    writer.close()

    assert scalar(plain(pooled_url), f"SELECT sum(executions)::int FROM {schema_of(pooled_url)}.metrics_jobs") == 15


@pytest.mark.parametrize("pooled_url", ["aurea"], indirect=True)
def test_a_pipeline(pooled_url: str, tmp_path: Path, broker_url: str) -> None:
    with Installation(tmp_path, broker_url, plain(pooled_url)) as installation:
        for _ in range(2):
            installation.writer(DATABASE_URL=pooled_url)
        installation.worker("-c", "2")
        installation.send_many("spend", [(100, 20)] * 40)

        rows = f"SELECT coalesce(sum(executions), 0)::int, sum(token_count)::int FROM {schema_of(pooled_url)}.metrics"
        wait_until(lambda: installation.query(rows)[0][0] == 40, "40 executions in the database")
        assert tuple(installation.query(rows)[0]) == (40, 40 * 120)


def test_what_the_pooler_refuses_is_said(pgbouncer: InstalledPgbouncer) -> None:
    url = f"postgresql://aurea:secret@127.0.0.1:{pgbouncer.port}/postgres?options=endpoint%3Dx"

    with pytest.raises(DatabaseUnavailable, match=r"unsupported startup parameter.*leave that parameter out"):
        check_database(url)
