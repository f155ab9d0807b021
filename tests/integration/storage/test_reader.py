"""``aurea db reader``: a role that can read our tables, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from aurea_celery.storage import schema, upkeep
from aurea_celery.storage.reader import MOST_CONNECTIONS
from tests.support.databases import Databases, connected, scalar
from tests.support.recorded import execution, write
from tests.support.servers import InstalledPostgres

ROLE, PASSWORD = 'aurea "read": er', "it's a secret: %s, 秘密"


@pytest.fixture
def house(each_databases: Databases) -> Iterator[str]:
    """A database with a row, and a table of the host's own; roles outlive it, and go too."""
    with each_databases.migrated() as url:
        write(url, execution())
        with connected(url) as connection:
            connection.execute(sa.text("CREATE TABLE hosts_own AS SELECT 1 AS secret"))
        yield url
        with connected(url) as connection:
            for role in connection.scalars(
                sa.text("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ~ '^aurea.'")
            ):
                connection.execute(sa.text(f"DROP OWNED BY {role}; DROP ROLE {role}".replace(":", r"\:")))


def make(url: str, password: str | None = PASSWORD, role: str = ROLE) -> Result:
    environment = {"DATABASE_URL": url, "AUREA_READER_PASSWORD": password}
    return CliRunner(env=environment).invoke(aurea, ["db", "reader", "--role", role])


def url_of(url: str) -> str:
    return sa.make_url(url).set(username=ROLE, password=PASSWORD).render_as_string(hide_password=False)


def test_it_reads_everything_and_writes_nothing(house: str) -> None:
    assert make(house).stdout == f"The role {ROLE} is made; it can read, and nothing else.\n"
    reader = url_of(house)

    for table in (*schema.metadata.tables, schema.VERSION_TABLE):
        scalar(reader, f"SELECT count(*) FROM {table}")
        for attempt in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"):
            check_refused(reader, attempt)
    assert scalar(reader, "SELECT count(*) FROM metrics") == 1
    check_refused(reader, "SELECT * FROM hosts_own")
    check_refused(reader, "UPDATE metrics SET cost_estimate = 0")
    check_refused(reader, "SELECT nextval('metrics_id_seq')")
    check_refused(reader, "CREATE ROLE another")
    assert scalar(reader, "SHOW statement_timeout") == "30s"
    assert scalar(reader, "SHOW default_transaction_read_only") == "on"
    limits = f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{ROLE}' AND rolcanlogin AND NOT rolsuper"
    assert scalar(house, limits.replace(":", r"\:")) == MOST_CONNECTIONS


def check_refused(url: str, statement: str) -> None:
    """Whatever the role sets for itself."""
    refused = pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner")
    with connected(url) as connection, refused:
        connection.execute(sa.text(f"SET TRANSACTION READ WRITE; {statement}"))


def test_it_reads_partitions_that_are_made_later(house: str) -> None:
    make(house)
    write(house, execution(ended_at_us=execution().ended_at_us - 40 * 86_400_000_000))
    assert upkeep.maintain(house).moved

    assert scalar(url_of(house), "SELECT count(*) FROM metrics") == 2


def test_again_is_an_update_that_takes_back_what_is_too_much(house: str) -> None:
    make(house, "another password")
    with connected(house) as connection:
        connection.execute(sa.text(f"GRANT ALL ON metrics_jobs TO {quoted(ROLE)}"))

    assert make(house).stdout == f"The role {ROLE} is updated; it can read, and nothing else.\n"
    assert make(house).exit_code == 0
    check_refused(url_of(house), "DELETE FROM metrics_jobs")
    assert is_the_password(str(scalar(house, "SELECT rolpassword FROM pg_authid WHERE rolname ~ '^aurea.'")), PASSWORD)


def quoted(role: str) -> str:
    return '"' + role.replace('"', '""').replace(":", r"\:") + '"'


def is_the_password(stored: str, password: str) -> bool:
    """Whether a password belongs to a SCRAM secret (RFC 5802)."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.+)\$(.+):(.+)", stored)
    assert found
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(found[2]), int(found[1]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest() == base64.b64decode(found[3])


def test_the_servers_log_does_not_show_the_password(
    system_databases: Databases, system_postgres: InstalledPostgres
) -> None:
    with system_databases.migrated() as url:
        with connected(url) as connection:
            name = connection.scalar(sa.text("SELECT current_database()"))
            connection.execute(sa.text(f"ALTER DATABASE {name} SET log_statement = 'all'"))
        assert make(url, "plain-to-see", "aurea_logged").exit_code == 0
        with connected(url) as connection:
            connection.execute(sa.text("DROP OWNED BY aurea_logged; DROP ROLE aurea_logged"))

    log = system_postgres.log.read_text()
    assert "ALTER ROLE aurea_logged PASSWORD 'SCRAM-SHA-256" in log
    assert "plain-to-see" not in log


def test_a_role_of_the_hosts_is_left_alone(house: str) -> None:
    owner = sa.make_url(house).username
    found = make(house, role=str(owner))

    assert found.exit_code == 2
    assert found.stderr == f"aurea: the role {owner} is not one of ours; choose another name with --role, or drop it\n"
    assert scalar(house, "SHOW default_transaction_read_only") == "off"


def test_without_a_password_or_with_a_name_that_is_too_long_nothing_is_made(
    house: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found, too_long = make(house, None), make(house, role="r" * 64)

    assert (found.exit_code, too_long.exit_code) == (2, 2)
    assert found.stderr == "aurea: the role needs a password; set AUREA_READER_PASSWORD, or run this on a terminal\n"
    assert "choose another one with --role" in too_long.stderr
    assert scalar(house, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^(aurea.|rrr)'") == 0


def test_who_may_not_make_roles_is_told(house: str) -> None:
    make(house)
    with connected(house) as connection:
        connection.execute(sa.text(f"ALTER ROLE {quoted(ROLE)} RESET default_transaction_read_only"))
    found = make(url_of(house), role="aurea_other")

    assert found.exit_code == 1
    assert "(permission denied to create role); ask as the owner of the tables, or a superuser" in found.stderr


def test_who_does_not_own_the_tables_is_told(house: str) -> None:
    make(house)
    with connected(house) as connection:
        connection.execute(sa.text(f"ALTER ROLE {quoted(ROLE)} CREATEROLE"))
        connection.execute(sa.text(f"ALTER ROLE {quoted(ROLE)} RESET default_transaction_read_only"))
    found = make(url_of(house), role="aurea_other")

    assert found.exit_code == 2
    assert found.stderr == "aurea: this user may not let others read the tables; run this as their owner\n"
    assert scalar(house, "SELECT count(*) FROM pg_roles WHERE rolname = 'aurea_other'") == 0
