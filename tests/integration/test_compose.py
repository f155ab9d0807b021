"""docker-compose.yml without Docker: what it starts, started here as it says, from an empty disk to Grafana's query."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

from tests.conftest import skip_missing
from tests.support.compose import NativeStack, expand, read_compose
from tests.support.installation import ROOT
from tests.support.servers import wait_until

SECRETS = {
    "POSTGRES_PASSWORD": "owner0",
    "AUREA_READER_PASSWORD": "reader0",
    "BROKER_PASSWORD": "broker0",
    "AUREA_API_TOKENS": "read:token0-of-a-test",
    "GRAFANA_ADMIN_PASSWORD": "admin0",
}
PAGE = (ROOT / "docs" / "compose.md").read_text()


@pytest.fixture(scope="module")
def stack(server_folder: Path, wheel: Path) -> Iterator[NativeStack]:
    """Everything but Grafana, started in its order, and healthy."""
    redis_cli = shutil.which("valkey-cli") or shutil.which("redis-cli") or skip_missing("valkey-cli or redis-cli")
    folder = Path(tempfile.mkdtemp(prefix="compose-", dir=server_folder))
    with NativeStack(folder, SECRETS, wheel, redis_cli) as stack:
        for name in ("worker", "writer", "api"):
            stack.up(name)
        for name in ("worker", "writer", "api"):
            wait_until(lambda name=name: stack.is_healthy(name), f"{name} being healthy")  # type: ignore[misc]  # a lambda's default has no type
        yield stack


def test_work_comes_through_to_grafanas_role(stack: NativeStack) -> None:
    with contextlib.closing(psycopg2.connect(**data_source(stack))) as grafana, grafana.cursor() as cursor:
        grafana.autocommit = True

        def written() -> int:
            cursor.execute("SELECT coalesce(sum(executions), 0) FROM metrics")
            (count,) = cursor.fetchone() or (0,)
            return int(count)

        before = written()
        sent = stack.execute("worker", ["python", "-m", "worker_example.send", "--tasks", "60"])
        assert sent.returncode == 0, sent.stderr
        executions = int(re.findall(r"they are (\d+) executions", sent.stdout)[0])
        wait_until(lambda: written() >= before + executions, f"{executions} executions in the database")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cursor.execute("DELETE FROM metrics")
        cursor.execute("SET default_transaction_read_only = off")  # who may read must not write by wanting to, either
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM metrics")


def test_the_api_answers_who_has_a_token(stack: NativeStack) -> None:
    assert ask(stack, "/metrics/jobs", "token0-of-a-test")[0] == 200
    assert ask(stack, "/metrics/jobs", None)[0] == 401


COMMANDS = re.findall(r"^docker compose exec (\w+) (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("service", "command"), COMMANDS)
def test_every_documented_command_runs(stack: NativeStack, service: str, command: str) -> None:
    wait_until(lambda: stack.execute(service, shlex.split(command)).returncode == 0, command)


def data_source(stack: NativeStack) -> dict[str, Any]:
    """How Grafana connects, by its provisioned data source and its own environment."""
    text = (ROOT / "deploy/grafana/provisioning/datasources/aurea.yaml").read_text()
    environ = stack.services["grafana"]["environment"]
    (source,) = yaml.safe_load(text)["datasources"]
    host, port = stack.replace(source["url"]).split(":")
    filled = expand(source, lambda value: re.sub(r"\$(\w+)", lambda found: environ[found[1]], value))
    return {
        "host": host,
        "port": port,
        "user": filled["user"],
        "password": filled["secureJsonData"]["password"],
        "dbname": filled["jsonData"]["database"],
        "sslmode": filled["jsonData"]["sslmode"],
    }


def ask(stack: NativeStack, path: str, token: str | None) -> tuple[int, Any]:
    """The API's status and JSON."""
    connection = http.client.HTTPConnection(stack.api_address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def test_every_service_is_started_here_or_said_not_to_be(stack: NativeStack) -> None:
    assert set(stack.services) - set(stack.running) == {"grafana"}
    assert set(read_compose()["services"]) == set(stack.services)
