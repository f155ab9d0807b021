"""Faults of the clock of those who delete: a writer that is days off is asked to prune."""

from __future__ import annotations

from contextlib import suppress

from celery import Celery

from aurea_celery.delivery.broker import Broker
from aurea_celery.settings import Settings
from chaos.faults import BROKER
from chaos.schedule import Step
from chaos.server_faults import AllWriters
from chaos.stack import Stack

DAY_SECONDS = 86_400


class WritersDaysOff(AllWriters):
    """The wall clocks of all writers are days off, and one of them is asked to prune."""

    def __init__(self, stack: Stack, step: Step, *, days: int) -> None:
        self._days = days
        super().__init__(stack, step)

    @property
    def resources(self) -> set[str]:
        """All writers, the broker and the database."""
        return {BROKER, *super().resources}

    def strike(self) -> str:
        """Set their clocks, and ask."""
        self._set_clocks(self._days * DAY_SECONDS)
        self._ask_to_prune()
        return f"{self._days:+d} days on all writers for {self.step.seconds:.1f} s, which are asked to prune"

    def end(self) -> None:
        """Set them right, and ask again."""
        self._set_clocks(0)
        self._ask_to_prune()

    def _set_clocks(self, seconds: int) -> None:
        for slot in self.stack.writers:
            self.stack.set_clock(slot, seconds)

    def _ask_to_prune(self) -> None:
        app = Celery("pruning", broker=self.stack.broker.url, set_as_current=False)
        broker = Broker(app, Settings())
        with suppress(Exception):  # the transports' errors share no base class
            broker.ask_to_prune()
        broker.close()
