"""A broker in memory that fails when told to."""

from __future__ import annotations

from aurea_celery.budget import BudgetStates
from aurea_celery.delivery.receipts import Received
from aurea_celery.events import Source, TaskEvent, decode_batch, decode_event


class MemorySender:
    """Keeps what it was sent; fails before or after taking a batch, like a broker whose answer is lost."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.events: dict[str, TaskEvent] = {}
        self.sent_count = 0
        self.fail_before = self.fail_after = False
        self.waiting = 0
        self.reply_to: str | None = None
        self.to_receive: set[str] = set()
        self.forgets = False
        self.budgets: BudgetStates | None = None
        self.asked_count = 0

    def send(self, batch: bytes, event_count: int) -> None:
        """Take a batch, or not."""
        if self.fail_before:
            raise ConnectionError
        decoded = decode_batch(batch)
        if self.forgets:
            return
        self.asked_count += decoded.asks_budgets
        if decoded.receipt is not None:
            self.to_receive.add(decoded.receipt.batch_id)
        assert event_count == sum(len(one.events) for one in decoded.sources)
        for one in decoded.sources:
            self._take(one.source, [decode_event(raw) for raw in one.events])
        self.sent_count += event_count
        if self.fail_after:
            raise ConnectionError

    def _take(self, source: Source, events: list[TaskEvent]) -> None:
        known = self.sources.get(source.source_id)
        if known is None or source.captured >= known.captured:
            self.sources[source.source_id] = source
        for event in events:
            # Whoever closes an execution, and however often, makes the same event.
            assert self.events.setdefault(event.event_id, event) == event

    def open_receipts(self) -> str | None:
        """Where it was told that receipts go."""
        return self.reply_to

    def receive(self) -> Received:
        """The receipts of what it took, and what it was told to say of budgets where that was asked."""
        received, self.to_receive = self.to_receive, set()
        answers = [self.budgets] if self.budgets and self.asked_count else []
        return Received(received, answers)

    def waiting_messages(self) -> int:
        """As many as it was told."""
        return self.waiting

    def remove_receipts(self) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to close."""
