"""The brokers of a run: private, on a free loopback port, stopped, killed and started at will with their data."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Protocol

import redis

from aurea_celery.embedded import EmbeddedValkey
from tests.support.processes import session_of
from tests.support.servers import accepts, free_port, wait_until

RABBIT_FOLDER = Path("/usr/lib/rabbitmq/bin")
RABBIT_SECONDS = 60.0
STOP_SECONDS = 30.0


class MissingServer(Exception):
    """A server that the run needs is not installed."""


class ChaosBroker(Protocol):
    """A broker that may be hurt.

    ``loses_what_it_sends``: a message is in nobody's hands between the broker and a consumer that dies. Redis takes it
    out of the queue when it sends it, and knows it among the unacknowledged ones only when the consumer says so.
    """

    url: str
    loses_what_it_sends: bool

    def stop(self) -> None:
        """Stop it as an operator would."""

    def kill(self) -> None:
        """SIGKILL."""

    def start(self) -> None:
        """Start it again with its data and its port."""

    def forget(self) -> None:
        """Lose the data of a stopped broker, as one does that was set up without persistence."""

    def messages(self, queue: str, unacknowledged: str) -> int:
        """How many messages a queue holds, waiting or handed out; ``unacknowledged`` is Redis's index of the latter."""

    def remove(self) -> None:
        """Stop it for good."""


class Valkey:
    """The Valkey from its wheel, with an append-only file: what it has confirmed survives SIGKILL."""

    loses_what_it_sends = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedValkey(folder)
        self.url = self._server.url

    def stop(self) -> None:
        """Stop it as an operator would."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._server.kill()

    def start(self) -> None:
        """Start it again with its data and its port."""
        self._server.restart()

    def forget(self) -> None:
        """Lose the data of a stopped broker."""
        shutil.rmtree(self._folder / "valkey" / "appendonlydir")

    def messages(self, queue: str, unacknowledged: str) -> int:
        """How many messages a queue holds, waiting or handed out."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.llen(queue)) + int(client.zcard(unacknowledged))

    def remove(self) -> None:
        """Stop it for good."""
        with contextlib.suppress(Exception):  # it may be stopped already
            self._server.stop()


class RabbitMQ:
    """The system's RabbitMQ with a node, a port mapper and a data folder of its own."""

    loses_what_it_sends = False

    def __init__(self, folder: Path) -> None:
        if not (RABBIT_FOLDER / "rabbitmq-server").exists():
            raise MissingServer("RabbitMQ is not installed; install it with: apt-get install rabbitmq-server")
        self._folder = folder / "rabbitmq"
        self._folder.mkdir()
        self._port, self._mapper_port = free_port(), free_port()
        self._node = f"chaos-{self._port}@localhost"
        self._environ = os.environ | self._settings()
        (self._folder / "plugins").write_text("[].")
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "server.log").open("ab") as log:
            command = [RABBIT_FOLDER / "rabbitmq-server"]
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,  # it leaves dumps where it runs
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: accepts(self._port), "RabbitMQ answering", seconds=RABBIT_SECONDS)
        self._control("await_startup")

    def stop(self) -> None:
        """Stop it as an operator would."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        wait_until(lambda: not accepts(self._port), "RabbitMQ being gone", seconds=STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL, to the server and not only to the script that watches it."""
        for pid in session_of(self._process.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        wait_until(lambda: not accepts(self._port), "RabbitMQ being gone", seconds=STOP_SECONDS)

    def forget(self) -> None:
        """Lose the data of a stopped broker."""
        shutil.rmtree(self._folder / "data")

    def messages(self, queue: str, unacknowledged: str) -> int:
        """How many messages a queue holds, waiting or handed out."""
        listed = self._control("list_queues", "--no-table-headers", "name", "messages").splitlines()
        return sum(int(count) for name, count in (line.split("\t") for line in listed) if name == queue)

    def queues(self) -> dict[str, str]:
        """The queues' names, and their types."""
        listed = self._control("list_queues", "--no-table-headers", "name", "type").splitlines()
        return dict(line.split("\t") for line in listed)

    def remove(self) -> None:
        """End it for good, and its port mapper, which Erlang leaves running."""
        self.kill()
        subprocess.run(["epmd", "-port", f"{self._mapper_port}", "-kill"], check=False, capture_output=True)  # noqa: S607

    def _control(self, *words: str) -> str:
        command = [str(RABBIT_FOLDER / "rabbitmqctl"), "--quiet", "-n", self._node, *words]
        done = subprocess.run(
            command, env=self._environ, check=True, capture_output=True, text=True, timeout=RABBIT_SECONDS
        )
        return done.stdout

    def _settings(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),  # of the cookie that lets rabbitmqctl in
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
        }


def start_broker(name: str, folder: Path) -> ChaosBroker:
    """Start a broker by its name.

    Raises:
        MissingServer: If it is not installed.
    """
    return RabbitMQ(folder) if name == "rabbitmq" else Valkey(folder)
