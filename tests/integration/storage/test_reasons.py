"""What a command says when the database refuses: the server's own reason, what to do, and never the password."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from tests.support.databases import Databases, connected
from tests.support.servers import InstalledPostgres, free_port

SECRET = "hunter2"  # noqa: S105 - nobody's


def upgrade(url: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, ["db", "upgrade"])


def said(url: str, status: int = 1) -> str:
    """The one sentence on standard error."""
    done = upgrade(url)
    assert done.exit_code == status, done.output
    assert SECRET not in done.output
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture(scope="session")
def asks_password(system_postgres: InstalledPostgres) -> Iterator[str]:
    """A user of the system's PostgreSQL who needs a password: all others are trusted."""
    rules = system_postgres.folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\nhost all outcast 127.0.0.1/32 reject\n" + before)
    with connected(system_postgres.url) as connection:
        connection.execute(sa.text("CREATE ROLE guarded LOGIN PASSWORD 'right'"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    yield f"127.0.0.1:{system_postgres.port}"
    with connected(system_postgres.url) as connection:
        connection.execute(sa.text("DROP ROLE guarded"))
    rules.write_text(before)


def test_a_wrong_password(asks_password: str) -> None:
    sentence = said(f"postgresql://guarded:{SECRET}@{asks_password}/postgres")
    assert sentence == (
        f"aurea: the database at {asks_password} is not available: password authentication failed for user"
        ' "guarded"; check the user and the password in DATABASE_URL'
    )
    assert "no password supplied; check the user" in said(f"postgresql://guarded@{asks_password}/postgres")


def test_a_server_that_refuses(asks_password: str) -> None:
    trusted = f"postgresql://aurea:{SECRET}@{asks_password}"

    assert 'database "nowhere" does not exist; create it with createdb' in said(f"{trusted}/nowhere")
    assert 'role "nobody" does not exist; check the user' in said(f"postgresql://nobody@{asks_password}/postgres")
    assert re.search(r"pg_hba.conf rejects .*; see sslmode", said(f"postgresql://outcast@{asks_password}/postgres"))
    ssl = said(f"{trusted}/postgres?sslmode=require")
    assert "server does not support SSL, but SSL was required; see sslmode in DATABASE_URL" in ssl
    assert "see target_session_attrs" in said(f"{trusted}/postgres?target_session_attrs=standby")
    assert 'invalid sslmode value: "bogus"; correct DATABASE_URL' in said(f"{trusted}/postgres?sslmode=bogus")
    assert "create the schema that search_path names" in said(f"{trusted}/postgres?options=-csearch_path%3Dnone")


def test_a_url_that_is_not_understood(asks_password: str) -> None:
    sentence = said(f"postgresql://aurea:{SECRET}@{asks_password}/postgres?unknown=1", 2)
    assert sentence == (
        'aurea: DATABASE_URL is not understood (invalid dsn: invalid connection option "unknown"); correct it'
    )
    sentence = said(f"postgresql://aurea:one@{SECRET}@{asks_password}/postgres", 2)
    assert sentence == "aurea: the password in DATABASE_URL has an @; write it as %40"


def test_a_server_that_is_not_there() -> None:
    first, second = free_port(), free_port()
    sentence = said(f"postgresql://aurea:{SECRET}@127.0.0.1:{first},127.0.0.1:{second}/x")
    assert sentence == (
        f"aurea: the database at 127.0.0.1:{first},127.0.0.1:{second} is not available: Connection refused;"
        " check that it runs"
    )
    unknown = said(f"postgresql://aurea:{SECRET}@no-such-host.invalid/x")
    assert re.search(r"could not translate host name .*; check the host in DATABASE_URL", unknown)


def test_the_first_of_several_servers_that_takes_writes(asks_password: str) -> None:
    url = f"postgresql://aurea@127.0.0.1:{free_port()},{asks_password}/postgres?target_session_attrs=read-write"
    check = CliRunner(env={"DATABASE_URL": url}).invoke(aurea, ["check"])
    assert "no aurea-celery tables" in check.stderr


def test_tables_of_somebody_else(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        connection.execute(sa.text("CREATE TABLE metrics (a int)"))

    sentence = said(empty_database_url)

    assert re.match(r'aurea: the database aurea_test_\d+ at .* \(relation "metrics" already exists\); give', sentence)
    assert "?options=-csearch_path%3DNAME" in sentence


def test_upgrade_says_what_it_changed(databases: Databases, empty_database_url: str) -> None:
    first, second = upgrade(empty_database_url), upgrade(empty_database_url)

    where = r"in the schema public of the database aurea_test_\d+ at .*:5432\. The schema is up to date\.\n"
    assert re.fullmatch(rf"Made [23]\d tables {where}", first.stdout)
    assert re.fullmatch(rf"No table was missing {where}", second.stdout)


def test_a_role_that_may_make_no_tables(empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        connection.execute(sa.text("CREATE ROLE outsider LOGIN"))
    url = sa.make_url(empty_database_url).set(username="outsider").render_as_string(hide_password=False)
    try:
        assert "(permission denied for schema public); ask as the owner" in said(url)
    finally:
        with connected(empty_database_url) as connection:
            connection.execute(sa.text("DROP ROLE outsider"))
