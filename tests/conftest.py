"""Servers and databases for every test: real ones, private to the run.

The embedded PostgreSQL and Valkey serve most tests. What must hold on other releases too uses ``each_database_url``
and ``each_broker_url``, which add the PostgreSQL and the Redis of the system where they are installed; with ``CI`` set
a missing one is a failure.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from aurea_celery import _guard, plugin
from aurea_celery.capture import registry
from aurea_celery.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.databases import Databases
from tests.support.servers import (
    InstalledPgbouncer,
    InstalledPostgres,
    InstalledRedis,
    installed_pgbouncer,
    installed_postgres,
    installed_redis,
)

os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's thread would stay in a process that forks
os.environ["AUREA_ENABLED"] = "1"  # in a process of pytest nothing is recorded otherwise
os.environ["AUREA_RAISE_ERRORS"] = "1"  # what the guard would swallow in production fails a test


@pytest.fixture(scope="session", autouse=True)
def _outbox_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the test process itself captures stays in the run's folder."""
    os.environ["AUREA_OUTBOX_DIR"] = str(tmp_path_factory.mktemp("outbox"))


@pytest.fixture(autouse=True)
def _apart_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is captured but what a test asks for, whatever apps other tests have imported, and logs are not held.

    Nor does a worker of one test make the outboxes of the others' apps: they would be in the user's own folder.
    """
    monkeypatch.setattr(registry, "_doors", weakref.WeakKeyDictionary())
    monkeypatch.setattr(plugin, "_installed", weakref.WeakSet())
    monkeypatch.setattr(_guard, "_last_logged", {})


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for servers; short, because a Unix socket's path has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="aurea-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(server_folder: Path) -> Iterator[str]:
    """The embedded PostgreSQL's URL."""
    server = EmbeddedPostgres(server_folder)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def valkey(server_folder: Path) -> Iterator[EmbeddedValkey]:
    """The embedded Valkey."""
    server = EmbeddedValkey(server_folder)
    yield server
    server.stop()


@pytest.fixture
def broker_url(valkey: EmbeddedValkey) -> Iterator[str]:
    """A Redis-protocol broker with nothing in it."""
    yield valkey.url
    _flush(valkey.url)


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Databases:
    """Fresh databases on the embedded PostgreSQL."""
    return Databases(postgres_url)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated, empty database on the embedded PostgreSQL."""
    with databases.migrated() as url:
        yield url


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database without tables on the embedded PostgreSQL."""
    with databases.empty() as url:
        yield url


@pytest.fixture(scope="session")
def system_postgres(server_folder: Path) -> Iterator[InstalledPostgres]:
    """The system's PostgreSQL."""
    programs = installed_postgres()
    if programs is None:
        skip_missing("PostgreSQL")
    server = InstalledPostgres(programs, server_folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def system_redis(server_folder: Path) -> Iterator[InstalledRedis]:
    """The system's Redis."""
    program = installed_redis()
    if program is None:
        skip_missing("Redis")
    server = InstalledRedis(program, server_folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def pgbouncer(server_folder: Path, system_postgres: InstalledPostgres) -> Iterator[InstalledPgbouncer]:
    """The system's PgBouncer before the system's PostgreSQL."""
    program = installed_pgbouncer()
    if program is None:
        skip_missing("PgBouncer")
    pooler = InstalledPgbouncer(program, server_folder, system_postgres.port)
    yield pooler
    pooler.stop()


@pytest.fixture(scope="session")
def system_databases(system_postgres: InstalledPostgres) -> Databases:
    """Fresh databases on the system's PostgreSQL."""
    return Databases(system_postgres.url)


@pytest.fixture(scope="session", params=["embedded", "system"])
def each_databases(request: pytest.FixtureRequest) -> Databases:
    """Fresh databases, on each PostgreSQL there is; their template is made before a test stops the clock."""
    found: Databases = request.getfixturevalue("databases" if request.param == "embedded" else "system_databases")
    return found


@pytest.fixture
def each_database_url(each_databases: Databases) -> Iterator[str]:
    """A migrated, empty database, on each PostgreSQL there is."""
    with each_databases.migrated() as url:
        yield url


@pytest.fixture(params=["embedded", "system"])
def each_broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Redis-protocol broker with nothing in it, of each kind there is."""
    server = request.getfixturevalue("valkey" if request.param == "embedded" else "system_redis")
    yield server.url
    _flush(server.url)


def _flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushall()


def skip_missing(what: str) -> NoReturn:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed on this machine, and CI is set")
    pytest.skip(f"{what} is not installed on this machine")
