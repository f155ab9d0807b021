"""Migrations: the models are the migrated schema; up, down and up; side by side; beside the host's own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from aurea_celery.models import Base, Metric, upgrade_database
from aurea_celery.storage import partitions
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.migrate import HEAD_REVISION, alembic_config, downgrade
from aurea_celery.storage.schema import VERSION_TABLE, metadata
from tests.support.databases import Databases, connected


def tables(url: str) -> set[str]:
    with connected(url) as connection:
        return set(sa.inspect(connection).get_table_names())


def test_the_models_are_the_migrated_schema(each_database_url: str) -> None:
    with connected(each_database_url) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": False,
                "include_object": lambda _, name, kind, *__: not (kind == "table" and is_not_ours(name)),
            },
        )
        assert compare_metadata(context, metadata) == []
        assert checks(connection) == {
            constraint.name
            for table in metadata.tables.values()
            for constraint in table.constraints
            if isinstance(constraint, sa.CheckConstraint)
        }


def is_not_ours(name: str | None) -> bool:
    return name == VERSION_TABLE or (name or "").startswith(("metrics_p2", "metrics_default"))


def checks(connection: sa.Connection) -> set[str]:
    found = connection.execute(
        sa.text("SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY(:tables ::regclass[])"),
        {"tables": list(metadata.tables)},
    )
    return {row.conname for row in found}


def test_up_down_up(each_databases: Databases) -> None:
    with each_databases.empty() as url:
        upgrade_database(url)
        first = tables(url)
        engine = create_engine(url)
        downgrade(engine)
        assert tables(url) == {VERSION_TABLE}
        engine.dispose()
        upgrade_database(url)
        assert tables(url) == first


def test_books_of_the_first_release_are_carried_on(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.execute(
            sa.text(
                "INSERT INTO metrics_sources (source_id, host, pid, captured, written, rejected, duplicates, dropped,"
                " first_seen_at, last_seen_at) SELECT gen_random_uuid(), 'host', written, 5, written, 0, 0,"
                """ '{"damaged": 1, "outbox_full": 1}', now(), now() FROM generate_series(2, 3) AS written"""
            )
        )
    upgrade_database(empty_database_url)

    with connected(empty_database_url) as connection:
        books = connection.execute(
            sa.text("SELECT lost, through, open_since = last_seen_at FROM metrics_sources ORDER BY pid")
        )
        assert [tuple(row) for row in books] == [(2, "queue", True), (2, "queue", None)]


def test_repeated_and_simultaneous_upgrades_are_one(empty_database_url: str) -> None:
    faults: list[BaseException] = []

    def upgrade() -> None:
        try:
            upgrade_database(empty_database_url)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    upgrade_database(empty_database_url)

    assert not faults
    assert {"metrics", "metrics_job", "metrics_jobs", "metrics_rejected"} <= tables(empty_database_url)


def test_the_hosts_own_alembic_is_not_touched(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('the host')"))
    upgrade_database(empty_database_url)
    with connected(empty_database_url) as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "the host"
        assert connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")) == HEAD_REVISION


def test_the_history_is_linear_and_ends_at_the_head(database_url: str) -> None:
    with connected(database_url) as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    assert script.get_heads() == [HEAD_REVISION]


def test_partitions_are_made_ahead_and_once(each_database_url: str) -> None:
    now = datetime(2031, 12, 30, tzinfo=UTC)
    with connected(each_database_url) as connection:
        made = partitions.ensure(connection, now)
        assert partitions.ensure(connection, now) == []
    assert made[:3] == ["metrics_p2031w52", "metrics_p2032w01", "metrics_p2032w02"]
    assert len(made) == partitions.WEEKS_AHEAD + 2
    assert partitions.week_of(now + timedelta(days=1)) == partitions.week_of(now)


def test_the_documents_query_and_the_orm_view(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        found = connection.execute(
            sa.text("SELECT job_id, SUM(cost_estimate), SUM(token_count) FROM metrics GROUP BY 1")
        )
        assert found.all() == []
        documented = {
            "id",
            "job_id",
            "task_name",
            "model_used",
            "token_count",
            "latency_ms",
            "cost_estimate",
            "created_at",
        }
        assert documented <= set(sa.inspect(Metric).columns.keys())
        assert Base.metadata is metadata
    engine.dispose()
