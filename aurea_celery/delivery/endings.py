"""Executions that were cut short, and what the worker's main process says of them.

Where a task runs, a hard time limit, a termination and ``sys.exit`` look alike: something that is no ``Exception``
passes through. Why it was cut short is known to the main process alone, sometimes before and sometimes after. So such
an execution stays open until there is a verdict, or until none is to be expected any more: then it is lost.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from aurea_celery.delivery.records import cut_short
from aurea_celery.events import TaskEvent, Verdict

VERDICT_SECONDS = 3.0
"""How long a verdict may take: Celery talks to its result backend between ending a task and saying so."""

MOST_VERDICTS = 10_000


class Endings:
    """The verdicts of one process, and the executions in it that wait for theirs."""

    def __init__(self) -> None:
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._aborted: dict[str, tuple[TaskEvent, float]] = {}

    def verdict_on(self, event_id: str) -> Verdict | None:
        """What was said of an execution, if anything."""
        return self._verdicts.get(event_id)

    def settle(self, event_id: str, verdict: Verdict) -> None:
        """Remember a verdict; the first one counts."""
        self._verdicts.setdefault(event_id, verdict)
        if len(self._verdicts) > MOST_VERDICTS:
            self._verdicts.popitem(last=False)

    def abort(self, event: TaskEvent) -> None:
        """An execution of this process was cut short; it waits for its verdict."""
        self._aborted[event.event_id] = (event, time.monotonic())

    def take_due(self, *, at_once: bool) -> list[TaskEvent]:
        """The executions of this process that have their verdict, or will not get one; they wait no longer."""
        due = [
            event
            for event_id, (event, since) in list(self._aborted.items())
            if at_once or event_id in self._verdicts or time.monotonic() - since > VERDICT_SECONDS
        ]
        for event in due:
            del self._aborted[event.event_id]
        return [cut_short(event, self._verdicts.pop(event.event_id, None)) for event in due]
