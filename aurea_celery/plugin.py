"""``Aurea(app)``: puts capture, delivery and the writer's task together for one Celery app, and takes them apart."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from celery import signals

from aurea_celery import writer
from aurea_celery._guard import guarded
from aurea_celery.capture import registry
from aurea_celery.capture import signals as capture_signals
from aurea_celery.delivery.delivery import Delivery
from aurea_celery.errors import AureaError
from aurea_celery.events import ModelCall, TaskEvent
from aurea_celery.settings import Settings

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
        self._broken = False
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Celery) -> None:
        """Install on an app; a second plugin on the same app takes the place of the first."""
        if isinstance(registry.sink_of(app), Aurea):
            registry.uninstall(app)
        self._app = app
        registry.install(app, self)
        writer.register(app, self._arguments)
        capture_signals.connect()
        _connect_roles()
        _installed.add(self)

    def close(self) -> None:
        """Undo the installation, after sending what is left within ``aurea_shutdown_flush_seconds``."""
        if self._app is not None and registry.sink_of(self._app) is self:
            registry.uninstall(self._app)
        _installed.discard(self)
        self.stop()

    def begin(self, event: TaskEvent) -> None:
        """An execution has begun."""
        if delivery := self.delivery():
            delivery.begin(event)

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """A model was called inside an open execution."""
        if delivery := self.delivery():
            delivery.add_call(event_id, call)

    def finish(self, event: TaskEvent) -> None:
        """An execution has ended."""
        if delivery := self.delivery():
            delivery.finish(event)

    def stop(self) -> None:
        """Send what is left, within the deadline."""
        if self._delivery is not None:
            self._delivery.stop()

    def delivery(self) -> Delivery | None:
        """The app's delivery, made on first use; None if it is off, or if a setting is wrong, which is logged once."""
        if self._delivery is None and not self._broken:
            with _making:
                self._make_delivery()
        return self._delivery

    def _make_delivery(self) -> None:
        if self._delivery is None and self._app is not None and not self._broken:
            self._delivery = self._load_delivery(self._app)
            self._broken = self._delivery is None

    def _load_delivery(self, app: Celery) -> Delivery | None:
        try:
            settings = Settings.load(self._arguments, os.environ, app.conf)
        except AureaError as error:
            logger.error("aurea-celery: %s. Nothing is recorded until that is fixed", str(error).rstrip("."))  # noqa: TRY400 - one sentence, no traceback
            return None
        return Delivery(app, settings) if settings.enabled else None


@guarded
def on_worker_init(**_: Any) -> None:
    """Called in the worker's main process before the pool exists; makes a folder, no connection."""
    for aurea in list(_installed):
        if delivery := aurea.delivery():
            delivery.become_main()


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
