"""Which app's executions go where, and which of them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from aurea_celery.budget import BudgetState
from aurea_celery.capture.selection import Selection
from aurea_celery.events import ModelCall, Omission, TaskEvent, Verdict


class Sink(Protocol):
    """Where executions go; :class:`aurea_celery.delivery.delivery.Delivery` is the real one."""

    def begin(self, event: TaskEvent) -> None:
        """An execution has begun; ``event`` is what it will be if the process dies now."""

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """A model was called inside an open execution."""

    def finish(self, event: TaskEvent) -> None:
        """An execution has ended."""

    def abort(self, event: TaskEvent) -> None:
        """An execution was cut short by something that is no ``Exception``; :meth:`settle` says why."""

    def settle(self, event_id: str, verdict: Verdict) -> None:
        """The worker's main process knows why an execution was cut short."""

    def leave_out(self, reason: Omission, event_id: str | None = None) -> None:
        """The settings leave an execution out, which may have begun."""

    def budgets_of(self, job_id: str) -> Sequence[BudgetState]:
        """The states of budgets that concern a job: used up, or unable to judge. Asked before everything that runs."""


class Destination(NamedTuple):
    """Where the executions of an app go, and which of them."""

    sink: Sink
    selection: Selection


Door = Callable[[], Destination | None]
"""Gives an app's destination, made on first use; None while nothing is recorded."""

_doors: weakref.WeakKeyDictionary[Any, Door] = weakref.WeakKeyDictionary()


def real_app(app: Any) -> Any:
    """Return the app that a proxy stands for, such as ``celery.current_app``; an app stands for itself.

    A proxy cannot be told apart by its type, as there are many, but a bound method knows whose it is.
    """
    return getattr(app.finalize, "__self__", app)


def install(app: Any, door: Door) -> None:
    """Record the executions of an app's tasks."""
    _doors[app] = door


def uninstall(app: Any) -> None:
    """Stop recording an app's tasks."""
    _doors.pop(app, None)


@contextlib.contextmanager
def only(app: Any, door: Door) -> Iterator[None]:
    """Record the executions of this app alone, for a while, through another door."""
    others = list(_doors.items())
    _doors.clear()
    _doors[real_app(app)] = door
    try:
        yield
    finally:
        _doors.clear()
        _doors.update(others)


def is_in_use() -> bool:
    """Whether any app is recorded."""
    return len(_doors) > 0


def is_off() -> bool:
    """Return whether every app is off, by its settings or in a test: then nobody waits for a row."""
    doors = list(_doors.values())
    return bool(doors) and all(door() is None for door in doors)


def door_of(app: Any) -> Door | None:
    """The door of an app, if one is installed; what is no app, as in the unit tests of a user's, has none."""
    try:
        return _doors.get(app)
    except TypeError:  # it cannot be referred to weakly, or has no hash
        return None


def destination_of(app: Any) -> Destination | None:
    """Where an app's executions go."""
    door = door_of(app)
    return door() if door is not None else None


def default_destination() -> Destination | None:
    """Where monitored calls outside of any task go: to the first app that was installed and is still there."""
    door = next(iter(_doors.values()), None)
    return door() if door is not None else None
