"""Tasks that Django sends when a transaction is committed: they are of the job in which that was asked for.

``delay_on_commit`` and ``apply_async_on_commit``, of the task class that Celery gives to Django's users, hand a call of
the task to Django. By the time it runs the ``job(...)`` block may have ended: so what is current when it is asked for
goes along.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from aurea_celery._guard import guarded
from aurea_celery.capture.context import carry_current

MODULE = "celery.contrib.django.task"
METHODS = ("delay_on_commit", "apply_async_on_commit")

_originals: dict[str, Callable[..., Any]] = {}


@guarded
def connect() -> None:
    """Wrap the methods, where Django is in use; safe to repeat."""
    # Celery sets Django up where this variable is, and then imports the module itself.
    if _originals or not (MODULE in sys.modules or "DJANGO_SETTINGS_MODULE" in os.environ):
        return
    task_class = import_module(MODULE).DjangoTask
    for name in METHODS:
        _originals[name] = getattr(task_class, name)
        setattr(task_class, name, _wrap(_originals[name]))


def disconnect() -> None:
    """Put the methods back."""
    while _originals:
        setattr(import_module(MODULE).DjangoTask, *_originals.popitem())


class _Sender:
    """A task whose calls are sent as if it were now."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self.delay = carry_current(task.delay)
        self.apply_async = carry_current(task.apply_async)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


_sender_of = guarded(_Sender)


def _wrap(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(_sender_of(self) or self, *args, **kwargs)

    return call
