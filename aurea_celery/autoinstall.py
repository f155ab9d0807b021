"""``Aurea(app)`` on every app of the process, without a line in the app: importing this module is enough.

``celery -A yourapp worker -I aurea_celery.autoinstall`` imports it, and with ``AUREA_AUTOINSTALL=1`` in the environment
every ``celery`` command does, before it loads the app.
"""

from __future__ import annotations

import weakref
from typing import Any

from celery import Celery, _state, signals

from aurea_celery._guard import guarded
from aurea_celery.capture import registry
from aurea_celery.capture import signals as capture_signals
from aurea_celery.plugin import Aurea

_seen: weakref.WeakSet[Celery] = weakref.WeakSet()


@guarded
def install_on(app: Celery) -> None:
    """Called by Celery when it finalises an app, in any process: installs once, unless the app has a plugin already.

    May not read the app's configuration, which its owner may still change. A plugin of the app's own that comes later
    takes the place of this one.
    """
    if app not in _seen:
        _seen.add(app)
        if registry.door_of(app) is None:
            Aurea(app)


@guarded
def on_publish(**_: Any) -> None:
    """Called in whoever publishes a task, before capture's handler: a client may publish without finalising its app."""
    _install_on_all()


def _install_on_all() -> None:
    for app in list(_state._get_active_apps()):  # type: ignore[attr-defined]  # not in the type hints
        install_on(app)


# Celery's own way to reach every app, those to come too; it is how shared tasks get into them.
_state.connect_on_app_finalize(install_on)
signals.before_task_publish.connect(on_publish, weak=False, dispatch_uid="aurea_celery.autoinstall")
capture_signals.connect()
_install_on_all()
