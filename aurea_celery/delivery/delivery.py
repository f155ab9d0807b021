"""Delivery: one door for capture, and the roles a process can have.

=================  ======================================  =========================================
role               who                                     what runs in it
=================  ======================================  =========================================
on its own         web servers, scripts, pools in one      outbox; a publisher from the first event on
                   process
main process       of a Celery worker                      outbox; a publisher from the start on
pool child         of a prefork worker                     outbox only; the main process ships it
=================  ======================================  =========================================

With sync delivery each of them also has a :class:`~aurea_celery.delivery.sync.SyncDelivery`, from its first event on.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aurea_celery.budget import BudgetState
from aurea_celery.delivery.broker import RECEIPTS, Broker
from aurea_celery.delivery.budgets import BudgetCopy
from aurea_celery.delivery.folders import outbox_roots
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.delivery.sync import SyncDelivery
from aurea_celery.events import ModelCall, Omission, TaskEvent, Verdict
from aurea_celery.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

_living: weakref.WeakSet[Delivery] = weakref.WeakSet()


class Delivery:
    """Takes what capture saw and gets it to the writer's queue. Thread-safe and fork-safe."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._roots = outbox_roots(app.connection_for_write(settings.broker_url or None), settings)
        self._budgets = BudgetCopy(self._roots[0])
        self._main_pid = 0
        self._start(parent=None)
        _living.add(self)

    def begin(self, event: TaskEvent) -> None:
        """An execution has begun; ``event`` is what it will be if the process dies now."""
        self._outbox.begin(event)

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """A model was called inside an open execution."""
        self._outbox.add_call(event_id, call)

    def finish(self, event: TaskEvent) -> None:
        """An execution has ended."""
        kept = self._outbox.finish(event)
        if self._sync is not None and kept is not None:
            self._sync.send(kept)
        if len(self._outbox.overflow):
            self._publisher.send_soon()
        elif not self._is_pool_child:
            self._publisher.ensure_running()

    def abort(self, event: TaskEvent) -> None:
        """An execution was cut short; it stays open until the main process's verdict, or until none is to be expected.

        A pool child dies of it, and leaves it to the main process with the rest of its folder.
        """
        self._outbox.begin(event)
        if not self._is_pool_child:
            self._publisher.endings.abort(event)
            self._publisher.ensure_running()

    def settle(self, event_id: str, verdict: Verdict) -> None:
        """The main process knows why an execution was cut short."""
        self._publisher.endings.settle(event_id, verdict)

    def leave_out(self, reason: Omission, event_id: str | None = None) -> None:
        """The settings leave an execution out, which may have begun."""
        self._outbox.leave_out(reason, event_id)
        if not self._is_pool_child:
            self._publisher.ensure_running()

    def budgets_of(self, job_id: str) -> Sequence[BudgetState]:
        """The states of budgets that concern a job, as the host's processes know them; touches no network."""
        return self._budgets.states_of(job_id)

    def become_main(self) -> None:
        """This process is a worker's main process: show the pool children whose folder they belong to."""
        self._main_pid = os.getpid()
        self._main_name = self._outbox.name
        self._outbox.open_folder()

    def start_shipping(self) -> None:
        """Start the publisher now, to adopt what dead processes left."""
        self._publisher.ensure_running()

    def become_pool_child(self) -> None:
        """This process is a pool child, if its parent called :meth:`become_main` before the fork."""
        if self._main_pid not in (0, os.getpid()):
            self._outbox.close()
            self._start(parent=self._main_name, broker_answers=self._broker_answers)

    def stop(self) -> None:
        """Send what is left within the deadline of the settings; the rest stays in the outbox for the next process."""
        deadline = time.monotonic() + self._settings.shutdown_flush_seconds
        if self._sync is not None:
            self._sync.stop(self._settings.shutdown_flush_seconds)
        self._publisher.stop(deadline - time.monotonic())

    def _start(self, parent: str | None, *, broker_answers: bool = True) -> None:
        self._is_pool_child = parent is not None
        self._broker_answers = broker_answers
        self._outbox = Outbox(
            *self._roots,
            batch_events=self._settings.batch_events,
            max_bytes=self._settings.outbox_max_bytes,
            parent=parent,
        )
        receipts = f"{self._settings.queue}{RECEIPTS}{self._outbox.name}" if self._settings.keep_sent_seconds else None
        self._publisher = Publisher(self._outbox, Broker(self._app, self._settings, receipts), self._settings)
        self._sync: SyncDelivery | None = None
        if self._settings.delivery == "sync":
            broker = Broker(self._app, self._settings)
            self._sync = SyncDelivery(self._outbox, broker, self._settings, broker_answers=broker_answers)

    def _restart_after_fork(self) -> None:
        """Begin anew in a forked child: the parent keeps its folder, thread and connection."""
        self._outbox.close(after_fork=True)
        self._publisher.release_after_fork()
        self._start(parent=None, broker_answers=not self._publisher.is_backing_off)


def _restart_all_after_fork() -> None:
    for delivery in list(_living):
        delivery._restart_after_fork()


os.register_at_fork(after_in_child=_restart_all_after_fork)
