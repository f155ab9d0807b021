"""``Aurea(app)``: puts capture, delivery and the writer's task together for one Celery app, and takes them apart."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from celery import signals

from aurea_celery import pruner, writer
from aurea_celery._guard import guarded, log_once
from aurea_celery.capture import budgets, registry
from aurea_celery.capture import signals as capture_signals
from aurea_celery.capture.selection import Selection
from aurea_celery.delivery.delivery import Delivery
from aurea_celery.errors import AureaError
from aurea_celery.settings import DEFAULT, Settings, sources

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger("aurea_celery")

_installed: weakref.WeakSet[Aurea] = weakref.WeakSet()
_making = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: the thread that held the lock is not there."""
    global _making  # noqa: PLW0603 - the lock belongs to the process
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Aurea:
    """The plugin of one Celery app.

    Args:
        app: The app; or leave it out and call :meth:`init_app` later.
        settings: Any of :class:`aurea_celery.settings.Settings` by name; they win over environment and configuration.

    Celery's configuration is read when the first event is captured, so it may be set after this line.

    >>> from celery import Celery
    >>> app = Celery("example", broker="memory://")
    >>> aurea = Aurea(app)
    >>> aurea.close()
    """

    def __init__(self, app: Celery | None = None, **settings: Any) -> None:
        self._arguments = settings
        self._app: Celery | None = None
        self._delivery: Delivery | None = None
        self._destination: registry.Destination | None = None
        self._broken = False
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Celery) -> None:
        """Install on an app, or on the one that a proxy stands for; a second plugin takes the place of the first."""
        self._app = app = registry.real_app(app)
        registry.install(app, self.destination)
        writer.register(app, self._arguments)
        pruner.register(app)
        capture_signals.connect()
        _connect_roles()
        _installed.add(self)

    def close(self) -> None:
        """Undo the installation, after sending what is left within ``aurea_shutdown_flush_seconds``."""
        if self._app is not None and registry.door_of(self._app) == self.destination:
            registry.uninstall(self._app)
        _installed.discard(self)
        self.stop()

    def stop(self) -> None:
        """Send what is left, within the deadline."""
        if self._delivery is not None:
            self._delivery.stop()

    def prepare_tasks(self) -> None:
        """Let budgets keep the app's tasks from starting; for a worker, whose tasks are known by then."""
        if self._app is not None:
            budgets.prepare_tasks(self._app)

    def delivery(self) -> Delivery | None:
        """The app's delivery, made on first use; None if it is off, or if a setting is wrong, which is logged once."""
        self.destination()
        return self._delivery

    def destination(self) -> registry.Destination | None:
        """Where the app's executions go, and which of them; made on first use."""
        if self._destination is None and not self._broken:
            with _making:
                self._make_destination()
        return self._destination

    def _make_destination(self) -> None:
        if self._destination is not None or self._app is None or self._broken:
            return
        settings = self._load_settings(self._app)
        if settings is None or not settings.enabled or self._is_off_in_tests(self._app):
            self._broken = True
            return
        self._delivery = Delivery(self._app, settings)
        self._destination = registry.Destination(self._delivery, Selection(settings))

    def _is_off_in_tests(self, app: Celery) -> bool:
        """Return whether this is a process of pytest and nobody has said that it records: what tests spend is no cost.

        Of pytest's environment variables none is asked: workers that a test starts inherit them.
        """
        if "pytest" not in sys.modules or sources(self._arguments, app.conf)["enabled"] != DEFAULT:
            return False
        log_once(
            "tests",
            logging.WARNING,
            "aurea-celery: nothing is recorded, because pytest is loaded in this process; "
            "set AUREA_ENABLED=1 to record, or AUREA_ENABLED=0 to turn this line off",
        )
        return True

    def _load_settings(self, app: Celery) -> Settings | None:
        try:
            return Settings.read(self._arguments, app.conf)
        except AureaError as error:
            logger.error("aurea-celery: %s. Nothing is recorded until that is fixed", str(error).rstrip("."))  # noqa: TRY400 - one sentence, no traceback
            return None


@guarded
def on_worker_init(**_: Any) -> None:
    """Called in the worker's main process before the pool exists; makes a folder, no connection."""
    for aurea in list(_installed):
        if delivery := aurea.delivery():
            delivery.become_main()
            aurea.prepare_tasks()


@guarded
def on_worker_ready(**_: Any) -> None:
    """Called in the worker's main process when it consumes; starts the publisher's thread."""
    for aurea in list(_installed):
        if delivery := aurea.delivery():
            delivery.start_shipping()


@guarded
def on_worker_process_init(**_: Any) -> None:
    """Called in each new pool child, which has four seconds to come up: changes names only."""
    for aurea in list(_installed):
        if delivery := aurea.delivery():
            delivery.become_pool_child()


@guarded
def _on_stop(**_: Any) -> None:
    """Called when a process ends; in a pool child only events that the disk could not take are left to send."""
    for aurea in list(_installed):
        aurea.stop()


def _connect_roles() -> None:
    for signal, handler in (
        (signals.worker_init, on_worker_init),
        (signals.worker_ready, on_worker_ready),
        (signals.worker_process_init, on_worker_process_init),
        (signals.worker_process_shutdown, _on_stop),
        (signals.worker_shutdown, _on_stop),
    ):
        signal.connect(handler, weak=False, dispatch_uid=f"aurea_celery.{handler.__name__}")
    atexit.unregister(_on_stop)
    atexit.register(_on_stop)
