"""What our sessions need is set in each transaction, whatever the server's defaults are; a doubtful one is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from aurea_api import create_app
from aurea_celery.clock import now_us
from aurea_celery.errors import DatabaseUnavailable, SchemaMismatch
from aurea_celery.events import TaskEvent, encode, encode_batch
from aurea_celery.models import upgrade_database
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage import upkeep
from aurea_celery.storage.database import create_engine, parse_url
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.write import Writer
from tests.support.api import METRIC, get, post
from tests.support.databases import connected, scalar
from tests.support.events import make_source
from tests.support.recorded import execution, write
from tests.support.servers import wait_until

DAY_US = 86_400_000_000


def alter_database(url: str, change: str) -> None:
    """Change a default of a database; sessions that there are keep what they had."""
    with connected(url) as connection:
        connection.execute(sa.text(f"ALTER DATABASE {parse_url(url).database} {change}"))


def with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    opened = Writer(database_url, pricing_of)
    yield opened
    opened.close()


def message(event: TaskEvent | None = None) -> str:
    return encode_batch([(make_source(captured=1), [encode(event or execution())])]).decode()


def test_the_defaults_of_role_and_database_are_not_ours(database_url: str) -> None:
    for change in (
        "default_transaction_isolation = serializable",
        "synchronous_commit = off",
        "timezone = 'Asia/Kathmandu'",
        "statement_timeout = '10s'",
        "lock_timeout = '1s'",
        "client_encoding = LATIN1",
        "datestyle = 'SQL, DMY'",
        "standard_conforming_strings = off",
    ):
        alter_database(database_url, f"SET {change}")
    engine = create_engine(database_url)
    names = ("transaction_isolation", "synchronous_commit", "timezone", "statement_timeout", "lock_timeout")
    for _ in range(2):  # in each transaction
        with engine.begin() as connection:
            found = [connection.scalar(sa.text(f"SHOW {name}")) for name in (*names, "client_encoding")]
        assert found == ["read committed", "on", "UTC", "1min", "0", "UTF8"]
    with engine.connect() as connection:
        query = connection.execution_options(stream_results=True).execute(
            sa.text("SELECT current_setting('timezone') || current_setting('synchronous_commit')")
        )
        assert query.scalar() == "UTCon", "also where the first query is a cursor on the server"
    engine.dispose()


def test_prune_carries_rows_that_come_meanwhile(database_url: str) -> None:
    """Above read committed, rows that are committed after its first query would be dropped without being carried."""
    old_us = now_us() - 200 * DAY_US
    write(database_url, execution("old", ended_at_us=old_us))
    upkeep.maintain(database_url)  # the row lies in a partition of its week now
    alter_database(database_url, "SET default_transaction_isolation = 'repeatable read'")
    late, commits, may_commit = Writer(database_url, pricing_of), threading.Event(), threading.Event()
    late.write(message(execution("new")))  # so that only the batch that is to come is held up

    @sa.event.listens_for(late._engine, "commit")
    def hold(_: sa.Connection) -> None:
        commits.set()
        assert may_commit.wait(60)

    with ThreadPoolExecutor() as threads:
        writing = threads.submit(late.write, message(execution("late", ended_at_us=old_us)))
        assert commits.wait(60)
        pruning = threads.submit(upkeep.prune, database_url, timedelta(days=90))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation::regclass::text LIKE 'metrics_p%'"
        wait_until(lambda: scalar(database_url, waits), "prune waiting for the writer")
        may_commit.set()
        writing.result()
        assert pruning.result().rows == 2
    late.close()

    assert scalar(database_url, "SELECT sum(executions)::int FROM metrics_pruned") == 2
    with connected(database_url) as connection:
        assert rollup_differences(connection) == {}


def test_the_url_may_say_more_than_we_do(database_url: str) -> None:
    url = with_query(
        database_url,
        "options=-c%20statement_timeout%3D5s%20-ctimezone%3DAsia/Tokyo%20--work-mem%3D8MB%20-c%20"
        "search_path%3D%22My%20100%25%22,public&application_name=mine".replace("My%20", "My%5C%20"),
    )
    engine = create_engine(url)
    with engine.connect() as connection:
        names = ("statement_timeout", "timezone", "work_mem", "search_path", "application_name")
        found = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in names}
        filled = connection.scalar(sa.text("SELECT :text"), {"text": "100%"})
    engine.dispose()

    assert found == {
        "statement_timeout": "5s",
        "timezone": "UTC",
        "work_mem": "8MB",
        "search_path": '"My 100%", public',
        "application_name": "mine",
    }
    assert filled == "100%"


def test_a_schema_of_the_url_has_all_tables(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        connection.execute(sa.text("CREATE SCHEMA aurea"))
        connection.execute(sa.text("CREATE TABLE public.metrics (somebody_elses int)"))
    url = with_query(empty_database_url, "options=-csearch_path%3Daurea")
    upgrade_database(url)
    writer = Writer(url, pricing_of)
    for _ in range(2):
        writer.write(message())
    writer.close()
    client = create_app(url).test_client()

    assert post(client, METRIC).status == 201
    assert len(get(client, "/metrics/jobs").body["jobs"]) == 1
    upkeep.maintain(url)
    outside = "SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert scalar(empty_database_url, outside) == ["metrics"]
    assert scalar(empty_database_url, "SELECT count(*) FROM aurea.metrics") == 3


def test_a_session_that_became_read_only_is_replaced(writer: Writer, database_url: str) -> None:
    alter_database(database_url, "SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match=r"read-only transaction.*25006.*target_session_attrs"):
        writer.write(message())
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        writer.write(message())
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("SET TRANSACTION READ WRITE"))
        connection.execute(sa.text(f"ALTER DATABASE {parse_url(database_url).database} RESET ALL"))
    engine.dispose()

    writer.write(message())

    assert scalar(database_url, "SELECT count(*) FROM metrics") == 1


def test_an_api_whose_sessions_became_read_only_goes_on(database_url: str) -> None:
    alter_database(database_url, "SET default_transaction_read_only = on")
    client = create_app(database_url).test_client()
    assert get(client, "/metrics/jobs").status == 200
    assert post(client, METRIC).status == 503
    with create_engine(database_url).begin() as connection:
        connection.execute(sa.text("SET TRANSACTION READ WRITE"))
        connection.execute(sa.text(f"ALTER DATABASE {parse_url(database_url).database} RESET ALL"))

    assert post(client, METRIC).status == 201


def test_a_session_that_finds_other_tables_is_replaced(empty_database_url: str) -> None:
    """The search path of a role or a database is that of new sessions."""
    writer = Writer(empty_database_url, pricing_of)
    with pytest.raises(SchemaMismatch):
        writer.write(message())
    with connected(empty_database_url) as connection:
        connection.execute(sa.text("CREATE SCHEMA aurea"))
    alter_database(empty_database_url, "SET search_path = aurea")
    upgrade_database(empty_database_url)

    writer.write(message())
    writer.close()

    assert scalar(empty_database_url, "SELECT count(*) FROM aurea.metrics") == 1


@pytest.mark.parametrize("code", ["0A000", "26000", "42P05", "57P01", "XX000"])
def test_after_an_error_of_the_session_the_batch_is_written_in_a_new_one(
    writer: Writer, database_url: str, code: str
) -> None:
    """As after a change of tables (cached plans), with a pooler (statements that are lost or there), at a restart."""
    writer.write(message())
    with connected(database_url) as connection:
        connection.execute(sa.text("CREATE SEQUENCE tries"))
        connection.execute(
            sa.text(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" IF nextval('tries') = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = '{code}'; END IF;"
                " RETURN NEW; END $$"
            )
        )
        connection.execute(
            sa.text("CREATE TRIGGER fail BEFORE INSERT ON metrics_sources FOR EACH ROW EXECUTE FUNCTION fail()")
        )

    writer.write(message())

    assert scalar(database_url, "SELECT count(*) FROM metrics") == 2
