"""Passwords in URLs are never logged, whatever is wrong with the URL, also where everything is logged."""

from __future__ import annotations

import sys

import pytest

from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.servers import free_port

SECRET = "hunter2"  # noqa: S105 - nobody's
LOUD_SCRIPT = """
import logging
logging.basicConfig(level=logging.DEBUG)
from tests.support import script
script.main(3)
"""
BROKER_URLS = (
    "redis://user:{secret}@127.0.0.1:{closed}/0",
    "redis://user:{secret}@no-such-host.invalid/0",
    "redis://user:{secret}@127.0.0.1:{open}/0",  # the password is wrong
    "redis://user:{secret}@127.0.0.1:port/0",
    "redis://user:{secret}/2@127.0.0.1/0",
    "amqp://user:{secret}@127.0.0.1:{closed}//",
    "nonsense://user:{secret}@127.0.0.1/0",
    "{secret}",
)
UNREACHABLE_URLS = (
    "postgresql://user:{secret}@127.0.0.1:{closed}/aurea",
    "postgresql://user:{secret}@no-such-host.invalid/aurea",
)
WRONG_URLS = (
    "postgresql://user:{secret}@127.0.0.1:port/aurea",
    "postgresql://user@127.0.0.1:{secret}/aurea",
    "mysql://user:{secret}@127.0.0.1/aurea",
    "{secret}",
)
REFUSED_URL = "postgresql://user:{secret}@127.0.0.1/aurea?unknown=1"
DATABASE_STATUSES = {
    **dict.fromkeys(UNREACHABLE_URLS, (1,)),
    **dict.fromkeys(WRONG_URLS, (2,)),
    REFUSED_URL: (1, 2),
}
"""What a command ends with: 1 where the database cannot be asked, 2 where the setting is wrong."""


def filled(installation: Installation, url: str) -> str:
    """A URL with its secret and its ports."""
    return url.format(secret=SECRET, closed=free_port(), open=installation.broker_url.rpartition(":")[2].split("/")[0])


def check(process: Process) -> None:
    """It has said something, and nothing of the secret."""
    assert process.log
    assert SECRET not in process.log


@pytest.mark.parametrize("url", BROKER_URLS)
def test_a_broker_that_cannot_be_reached(installation: Installation, url: str) -> None:
    broker_url = filled(installation, url)
    environ = {"AUREA_SHUTDOWN_FLUSH_SECONDS": "0.5", "AUREA_RAISE_ERRORS": ""}
    scripts = [
        installation.start(name.lower(), [sys.executable, "-c", LOUD_SCRIPT], {**environ, name: broker_url})
        for name in ("BROKER_URL", "AUREA_BROKER_URL")
    ]
    for script in scripts:
        assert script.wait() == 0
        assert "('HELLO', 10)" in script.log
        check(script)


@pytest.mark.parametrize("url", [url for url in BROKER_URLS if ":port" in url or "/2@" in url or "nonsense" in url])
def test_a_writer_whose_broker_url_cannot_be_read(installation: Installation, url: str) -> None:
    command = ["celery", "-A", "tests.support.user_app", "aurea", "writer", "-l", "DEBUG"]
    writer = installation.run("writer", command, {"BROKER_URL": filled(installation, url)})

    assert writer.wait() == 2
    assert "the broker's URL cannot be read" in writer.log
    check(writer)


@pytest.mark.parametrize("url", DATABASE_STATUSES)
def test_a_database_that_cannot_be_reached(installation: Installation, url: str) -> None:
    environ = {"DATABASE_URL": filled(installation, url)}
    started = [
        installation.run("-".join(command), ["aurea_celery.cli", *command], environ)
        for command in (("db", "upgrade"), ("check",), ("report",))
    ]
    for command in started:
        assert command.wait() in DATABASE_STATUSES[url]
        assert command.log.startswith("aurea: ")
        assert len(command.log.splitlines()) == 1, "one sentence, and not click's usage"
        check(command)


def test_a_writer_that_waits_for_its_database(installation: Installation) -> None:
    environ = {"DATABASE_URL": filled(installation, UNREACHABLE_URLS[0]), "AUREA_RAISE_ERRORS": ""}
    writer = installation.writer("-l", "DEBUG", **environ)
    script = installation.run("script", ["tests.support.script", "3"])
    assert script.wait() == 0
    writer.wait_for("the writer waits and tries again")
    writer.wait_for("; check that it runs; the writer waits")

    check(writer)
