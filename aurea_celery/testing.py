"""For your own tests: what your tasks and monitored functions would have recorded, without a broker or a database.

>>> from celery import Celery
>>> from aurea_celery import record_usage
>>> app = Celery("shop", broker="memory://")
>>> @app.task(name="texts.summarise")
... def summarise(text: str) -> str:
...     record_usage(model="gpt-4", input_tokens=len(text), output_tokens=1)
...     return text[0]
>>> with recording(app) as recorder:
...     result = summarise.apply(args=["hello"])
>>> recorder.last.status, recorder.last.calls[0].model, recorder.tokens
('success', 'gpt-4', 6)
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from celery.app import app_or_default

from aurea_celery.budget import BudgetState
from aurea_celery.capture import registry, signals
from aurea_celery.capture.selection import Selection
from aurea_celery.events import ModelCall, Omission, TaskEvent, Verdict
from aurea_celery.settings import Settings


class Recorder:
    """Keeps what would have been sent.

    Attributes:
        begun: Executions as they were when they began, in order.
        calls: Model calls as they happened: ``event_id`` and call.
        finished: Executions that have ended.
        aborted: Executions that something else than an ``Exception`` cut short.
        verdicts: What the worker's main process said of them, by ``event_id``.
        left_out: How many executions the settings left out, by reason.
    """

    def __init__(self) -> None:
        self.begun: list[TaskEvent] = []
        self.calls: list[tuple[str, ModelCall]] = []
        self.finished: list[TaskEvent] = []
        self.aborted: list[TaskEvent] = []
        self.verdicts: dict[str, Verdict] = {}
        self.left_out: Counter[Omission] = Counter()

    def begin(self, event: TaskEvent) -> None:
        """An execution has begun."""
        self.begun.append(event)

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """A model was called."""
        self.calls.append((event_id, call))

    def finish(self, event: TaskEvent) -> None:
        """An execution has ended."""
        self.finished.append(event)

    def abort(self, event: TaskEvent) -> None:
        """An execution was cut short."""
        self.aborted.append(event)

    def settle(self, event_id: str, verdict: Verdict) -> None:
        """The main process said why."""
        self.verdicts[event_id] = verdict

    def leave_out(self, reason: Omission, event_id: str | None = None) -> None:
        """The settings left an execution out."""
        self.left_out[reason] += 1

    def budgets_of(self, job_id: str) -> Sequence[BudgetState]:
        """Nobody has a budget here."""
        return ()

    @property
    def last(self) -> TaskEvent:
        """The execution that has ended last.

        Raises:
            IndexError: If none has.
        """
        return self.finished[-1]

    @property
    def tokens(self) -> int:
        """All tokens of all executions that have ended."""
        return sum(call.usage.token_count for event in self.finished for call in event.calls)


@contextlib.contextmanager
def recording(app: Any = None, **settings: Any) -> Iterator[Recorder]:
    """Record what an app's tasks and all monitored functions do, eager tasks included, and send nothing.

    Args:
        app: The Celery app; left out, the current one. It needs no plugin; one that it has rests meanwhile, as do
            those of all other apps.
        settings: Any of :class:`aurea_celery.settings.Settings` that choose or label, such as ``exclude``.
    """
    recorder = Recorder()
    selection = Selection(Settings.load({"capture_eager": True, **settings}, {}, {}))
    destination = registry.Destination(recorder, selection)
    signals.connect()
    with registry.only(app_or_default(app), lambda: destination):
        yield recorder
