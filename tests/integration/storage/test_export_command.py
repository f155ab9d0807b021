"""``aurea export`` at the terminal: the same files as the API's."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.cli import aurea
from tests.support.parquet import read_parquet
from tests.support.recorded import execution, write

pytestmark = pytest.mark.clock("leap-day")


def export(url: str, *options: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, ["export", *options])


@pytest.fixture
def client(database_url: str) -> FlaskClient:
    write(database_url, execution("a", "x"), execution("a", "y"), execution("=b", "x"))
    return create_app(database_url).test_client()


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ([], "csv"),
        (["--format", "jsonl"], "jsonl"),
        (["--job", "a", "--task", "x", "--since", "1d"], "csv?job=a&task=x"),
        (["--job", "a", "--job", "=b", "--until", "2020-01-01"], "csv?job=a&until=2020-01-01T00:00:00Z"),
        (
            ["--status", "failure", "--tag", "team:a:b", "--model", "gpt-4", "--provider", "openai"],
            "csv?status=failure",
        ),
    ],
)
def test_it_writes_what_the_api_answers(
    client: FlaskClient, database_url: str, options: list[str], address: str
) -> None:
    ended = export(database_url, *options)

    assert (ended.exit_code, ended.stdout_bytes) == (0, client.get(f"/metrics/export.{address}").data)


@pytest.mark.usefixtures("client")
def test_parquet(database_url: str) -> None:
    rows = read_parquet(export(database_url, "--format", "parquet").stdout_bytes)

    assert [(row["job_id"], row["task_name"]) for row in rows] == [("a", "x"), ("a", "y"), ("=b", "x")]


def test_without_pyarrow_it_says_what_to_do(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    ended = export(database_url, "--format", "parquet")

    assert (ended.exit_code, ended.stdout_bytes) == (1, b"")
    assert "pip install pyarrow" in ended.stderr


@pytest.mark.parametrize("option", [["--tag", "team"], ["--status", "done"], ["--since", "yesterday"]])
def test_a_wrong_option_is_refused(database_url: str, option: list[str]) -> None:
    assert export(database_url, *option).exit_code == 2
