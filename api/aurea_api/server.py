"""The API under gunicorn."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # gunicorn has no type hints

from aurea_api import access_log
from aurea_api.app import create_app
from aurea_api.doors import Doors, is_loopback
from aurea_api.slow_clients import Worker
from aurea_celery.errors import AddressInUse, ConfigurationError
from aurea_celery.settings import read_environment, read_port, require_database_url

DEFAULT_HOST = "127.0.0.1"
WORKERS = 2
SLOW_CLIENT_SECONDS = 10  # without a byte from or to a client before it is left
STOP_SECONDS = 5  # for requests under way; a worker told to stop while it starts does not hear it and is killed then


def serve(host: str = DEFAULT_HOST, port: int | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        host: The address to listen on. Without tokens (``AUREA_API_TOKENS``) it must be one of loopback.
        port: The port to listen on; ``PORT`` or 4000 if left out.

    Raises:
        ConfigurationError: If ``DATABASE_URL`` is missing, the address is not one of this machine's, or it would be
            open to others without tokens.
        AddressInUse: If another process listens there.
        SystemExit: At the end, with gunicorn's status.
    """
    database_url = require_database_url()
    create_app(database_url)  # a wrong URL ends us here, not in every worker
    if not is_loopback(host) and not Doors.of_environment(read_environment()).tokens:
        raise ConfigurationError(
            f"on {host} the API would be open to everyone who reaches it; set AUREA_API_TOKENS (make one: aurea token),"
            " or listen on 127.0.0.1"
        )
    _show_access_log()
    _Server(database_url, listen(host, read_port() if port is None else port)).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: If the address is not one of this machine's, or may not be used.
        AddressInUse: If another process listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {port} on {host} is taken by another process; stop it, or set PORT to another port"
            ) from None
        reason = (error.strerror or type(error).__name__).partition(" (")[0].lower()
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}; choose another address") from None
    # Connections inherit both from the listener: a client that sends half a body, or takes nothing of its answer, does
    # not keep a thread for ever.
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SLOW_CLIENT_SECONDS, 0))
    return listener


def _show_access_log() -> None:
    """Requests go to the standard error, as gunicorn's own lines do."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(process)d] %(message)s", "%Y-%m-%d %H:%M:%S %z"))
    access_log.logger.addHandler(handler)
    access_log.logger.setLevel(logging.INFO)
    access_log.logger.propagate = False


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn on a socket that listens already, with an app in each worker."""

    def __init__(self, database_url: str, listener: socket.socket) -> None:
        self._database_url = database_url
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn in its constructor."""
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "workers": WORKERS,
            "worker_class": Worker,
            "graceful_timeout": STOP_SECONDS,
            "proc_name": "aurea-api",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:  # older releases have no control socket to disable
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by gunicorn in each worker."""
        return create_app(self._database_url)
