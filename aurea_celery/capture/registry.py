"""Which app's executions go where."""

from __future__ import annotations

import weakref
from typing import Any

from aurea_celery.capture.context import Sink

_sinks: weakref.WeakKeyDictionary[Any, Sink] = weakref.WeakKeyDictionary()


def install(app: Any, sink: Sink) -> None:
    """Send the executions of an app's tasks to a sink."""
    _sinks[app] = sink


def uninstall(app: Any) -> None:
    """Stop capturing an app's tasks."""
    _sinks.pop(app, None)


def is_in_use() -> bool:
    """Whether any app is captured."""
    return len(_sinks) > 0


def sink_of(app: Any) -> Sink | None:
    """The sink of an app, if it is captured."""
    return _sinks.get(app)


def default_sink() -> Sink | None:
    """Where monitored calls outside of any task go: the first app that was installed and is still there."""
    return next(iter(_sinks.values()), None)
