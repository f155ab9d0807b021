"""The brokers that docs/brokers.md names and no other test runs on, each a private one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.support.servers import START_SECONDS, InstalledRedis, accepts, free_port, wait_until


class PrivateBroker(NamedTuple):
    """How an app reaches a broker; ``environ`` is for its processes."""

    url: str
    options: dict[str, Any]
    environ: Mapping[str, str] = MappingProxyType({})


@contextlib.contextmanager
def file_system(folder: Path, _: str) -> Iterator[PrivateBroker]:
    """A folder; senders write where consumers read."""
    names = ("data_folder_in", "data_folder_out", "control_folder")
    folders = {"data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"}
    for name in names:
        (folder / folders[name]).mkdir(exist_ok=True)
    yield PrivateBroker("filesystem://", {name: str(folder / folders[name]) for name in names})


@contextlib.contextmanager
def sqlite(folder: Path, _: str) -> Iterator[PrivateBroker]:
    """A file of SQLite."""
    yield PrivateBroker(f"sqla+sqlite:///{folder}/broker.sqlite", {})


@contextlib.contextmanager
def postgres(_: Path, database_url: str) -> Iterator[PrivateBroker]:
    """The tables of kombu in a database."""
    yield PrivateBroker(database_url.replace("postgresql://", "sqla+postgresql+psycopg2://"), {})


@contextlib.contextmanager
def sentinel(folder: Path, _: str) -> Iterator[PrivateBroker]:
    """Redis Sentinel, with one master."""
    server = InstalledRedis("redis-server", folder)
    port = free_port()
    configuration = folder / "sentinel.conf"
    configuration.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
    with running(["redis-server", str(configuration), "--sentinel"], port, folder):
        yield PrivateBroker(f"sentinel://127.0.0.1:{port}", {"master_name": "main"})
    server.stop()


@contextlib.contextmanager
def sqs(folder: Path, _: str) -> Iterator[PrivateBroker]:
    """Amazon SQS, as moto's server plays it."""
    port = free_port()
    environ = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder):
        options = {"region": "us-east-1", "is_secure": False, "visibility_timeout": 5}
        yield PrivateBroker(f"sqs://x:x@127.0.0.1:{port}", options, environ)


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A server that listens on a port, until the end of the block."""
    with (folder / "broker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: accepts(port), f"{command[0]} listening", seconds=START_SECONDS)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


START: dict[str, Callable[[Path, str], contextlib.AbstractContextManager[PrivateBroker]]] = {
    "filesystem": file_system,
    "sqlite": sqlite,
    "postgresql": postgres,
    "sentinel": sentinel,
    "sqs": sqs,
}
