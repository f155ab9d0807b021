"""A sink that keeps what capture hands over."""

from __future__ import annotations

from aurea_celery.events import ModelCall, TaskEvent


class RecordingSink:
    """Keeps begun, called and finished executions."""

    def __init__(self) -> None:
        self.begun: list[TaskEvent] = []
        self.calls: list[tuple[str, ModelCall]] = []
        self.finished: list[TaskEvent] = []

    def begin(self, event: TaskEvent) -> None:
        """An execution has begun."""
        self.begun.append(event)

    def add_call(self, event_id: str, call: ModelCall) -> None:
        """A model was called."""
        self.calls.append((event_id, call))

    def finish(self, event: TaskEvent) -> None:
        """An execution has ended."""
        self.finished.append(event)

    @property
    def last(self) -> TaskEvent:
        """The event that was finished last."""
        return self.finished[-1]

    @property
    def tokens(self) -> int:
        """All tokens of all finished executions."""
        return sum(call.usage.token_count for event in self.finished for call in event.calls)
