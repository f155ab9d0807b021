"""The law of the outbox: whatever is interleaved with whatever crash, every execution arrives, and as one event."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import ModelCall, TaskEvent, Usage, Verdict
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.senders import MemorySender

BATCH_EVENTS = 3


class OutboxMachine(RuleBasedStateMachine):
    """Executions begin, spend and end; the publisher ships or fails; the process dies and another one comes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.sender = MemorySender()
        self.open: dict[str, TaskEvent] = {}
        self.calls: dict[str, list[ModelCall]] = {}
        self.expected: dict[str, TaskEvent] = {}
        self.excluded = self.sampled_out = 0

    @initialize()
    def begin_process(self) -> None:
        self.outbox = Outbox(self.folder, batch_events=BATCH_EVENTS, max_bytes=10**9)
        self.publisher = Publisher(self.outbox, self.sender, Settings(batch_events=BATCH_EVENTS))

    @rule()
    def begin(self) -> None:
        event = make_event(status="lost", ended_at_us=make_event().started_at_us, latency_us=0)
        self.outbox.begin(event)
        self.open[event.event_id] = event
        self.calls[event.event_id] = []

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 100))
    def spend(self, data: st.DataObject, tokens: int) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.open)))
        call = ModelCall(usage=Usage(total_tokens=tokens), model="gpt-4")
        self.outbox.add_call(event_id, call)
        self.calls[event_id].append(call)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        event = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        event = msgspec.structs.replace(event, status="success", calls=tuple(self.calls[event.event_id]))
        self.outbox.finish(event)
        self.expected[event.event_id] = event

    @precondition(lambda self: self.open)
    @rule(data=st.data(), hears_why=st.booleans())
    def abort(self, data: st.DataObject, hears_why: bool) -> None:
        event = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        event = msgspec.structs.replace(event, error_type="SystemExit", calls=tuple(self.calls[event.event_id]))
        self.outbox.begin(event)
        self.publisher.endings.abort(event)
        if hears_why:
            self.publisher.endings.settle(event.event_id, Verdict("timeout", "TimeLimitExceeded"))
            self.publisher.ship()
            event = msgspec.structs.replace(event, status="timeout", error_type="TimeLimitExceeded")
        self.expected[event.event_id] = event

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def sample_out(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[event_id]
        self.outbox.leave_out("sampled_out", event_id)
        self.sampled_out += 1

    @rule()
    def exclude(self) -> None:
        self.outbox.leave_out("excluded")
        self.excluded += 1

    @rule(fail_before=st.booleans(), fail_after=st.booleans())
    def ship(self, fail_before: bool, fail_after: bool) -> None:
        self.sender.fail_before, self.sender.fail_after = fail_before, fail_after
        try:
            self.publisher.ship()
        except ConnectionError:
            assert fail_before or fail_after
        self.sender.fail_before = self.sender.fail_after = False

    @rule()
    def die(self) -> None:
        """The process is killed: its descriptors, and so its lock, are gone; what it had open is lost."""
        self.outbox.close(after_fork=True)
        for folder in self.publisher._folders.values():
            folder.release()
        for event in self.open.values():
            self.expected[event.event_id] = event
        self.open.clear()
        self.begin_process()

    @invariant()
    def nothing_arrives_that_did_not_happen(self) -> None:
        assert self.sender.events.keys() <= self.expected.keys()

    def teardown(self) -> None:
        self.die()
        self.publisher.ship()
        self.publisher.ship()
        arrived = self.sender.events
        assert arrived.keys() == self.expected.keys(), "an execution is missing"
        for event_id, event in self.expected.items():
            assert arrived[event_id].status == event.status
            unexplained = "WorkerLostError" if event.status == "lost" else None
            assert arrived[event_id].error_type == (event.error_type or unexplained)
            assert list(arrived[event_id].calls) == self.calls[event_id], "spend is missing"
        assert sum(source.captured for source in self.sender.sources.values()) == len(self.expected)
        assert sum(source.excluded for source in self.sender.sources.values()) == self.excluded
        assert sum(source.sampled_out for source in self.sender.sources.values()) == self.sampled_out
        assert not any(source.dropped for source in self.sender.sources.values())
        assert not [path for path in self.folder.iterdir() if path.name != self.outbox.name], "a folder is left behind"
        self.outbox.close()
        shutil.rmtree(self.folder)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
