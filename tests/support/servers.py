"""Servers that are installed on the machine, run privately: a PostgreSQL and a Redis from the system's packages."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from aurea_celery.embedded import PORTS

POSTGRES_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
START_SECONDS = 30.0
WAL_MEGABYTES = 1


def installed_postgres() -> Path | None:
    """The folder of an installed PostgreSQL server's programs, if there is one."""
    return POSTGRES_FOLDERS[0] if POSTGRES_FOLDERS else None


def installed_redis() -> str | None:
    """The path of an installed redis-server, if there is one."""
    return shutil.which("redis-server")


def installed_pgbouncer() -> str | None:
    """The path of an installed PgBouncer, if there is one."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def free_port() -> int:
    """A loopback port nobody listens on now; by chance, so that tests that run at the same time do not get the same.

    The kernel's own choice would be a port that the next outgoing connection of any process may take.
    """
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def accepts(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 60.0) -> None:
    """Poll a condition until it holds.

    Raises:
        TimeoutError: If it does not hold in time.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.05)


class InstalledPostgres:
    """The system's PostgreSQL with a data folder of its own, on a free loopback port; killed and started at will."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder / "system-postgres"
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        self.port = free_port()
        self.url = f"postgresql://aurea@127.0.0.1:{self.port}/postgres"
        self.log = self.folder / "server.log"
        self.folder.mkdir()
        if self._user:
            shutil.chown(self.folder, self._user)
        options = ("--username=aurea", "--auth=trust", "--encoding=UTF8", "--no-sync", f"--wal-segsize={WAL_MEGABYTES}")
        self._run("initdb", *options, "--pgdata", self.folder)
        self.start()

    def start(self, most_file_bytes: int = resource.RLIM_INFINITY) -> None:
        """Start the server and wait until it answers; as on a full disk, none of its files can grow past a limit."""
        options = f"-p {self.port} -h 127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run(
            "pg_ctl", "start", "-w", "-D", self.folder, "-l", self.log, "-o", options, most_file_bytes=most_file_bytes
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is as if it had crashed."""
        self._run("pg_ctl", "stop", "-w", "-D", self.folder, "-m", mode)

    def _run(self, program: str, *arguments: str | Path, most_file_bytes: int = resource.RLIM_INFINITY) -> None:
        limited = ["prlimit", f"--fsize={'unlimited' if most_file_bytes < 0 else most_file_bytes}:"]
        subprocess.run(
            [*limited, self._programs / program, *arguments],
            check=True,
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_SECONDS,
        )


class InstalledRedis:
    """The system's Redis with a data folder of its own, on a free loopback port."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder / "system-redis"
        self._folder.mkdir()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start the server and wait until it listens; its data is that of the last time."""
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes"}
        arguments = [f"{part}" for name, value in settings.items() for part in (f"--{name}", value)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *arguments], stdout=log, stderr=log)
        wait_until(lambda: accepts(self.port), "Redis answering", seconds=START_SECONDS)

    def stop(self) -> None:
        """Stop the server."""
        self._process.terminate()
        self._process.wait(START_SECONDS)


class InstalledPgbouncer:
    """The system's PgBouncer in transaction mode before a server on loopback, on a free port.

    Every client of a database shares one session of the server, transaction by transaction.
    """

    def __init__(self, program: str, folder: Path, server_port: int) -> None:
        self._folder = folder / "pgbouncer"
        self._folder.mkdir()
        self.port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": 1,
            "query_wait_timeout": 20,
        }
        config = self._folder / "pgbouncer.ini"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        server = f"* = host=127.0.0.1 port={server_port} user=aurea"
        config.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        with (self._folder / "pgbouncer.log").open("ab") as log:
            user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
            self._process = subprocess.Popen([program, "-q", config], stdout=log, stderr=log, user=user, cwd="/")
        wait_until(lambda: accepts(self.port), "PgBouncer answering", seconds=START_SECONDS)

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(START_SECONDS)
