"""aurea-celery: what every Celery job costs, in your own Postgres.

>>> from aurea_celery import Aurea, job, monitor_task, record_usage

The names are loaded on first use, so that ``import aurea_celery`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aurea_celery._version import __version__

if TYPE_CHECKING:
    from aurea_celery.capture.context import carry_context, job, record_usage
    from aurea_celery.capture.monitor import monitor_task
    from aurea_celery.errors import AureaError
    from aurea_celery.events import Usage
    from aurea_celery.plugin import Aurea

__all__ = ["Aurea", "AureaError", "Usage", "__version__", "carry_context", "job", "monitor_task", "record_usage"]

_HOMES = {
    "Aurea": "aurea_celery.plugin",
    "AureaError": "aurea_celery.errors",
    "Usage": "aurea_celery.events",
    "carry_context": "aurea_celery.capture.context",
    "job": "aurea_celery.capture.context",
    "monitor_task": "aurea_celery.capture.monitor",
    "record_usage": "aurea_celery.capture.context",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
