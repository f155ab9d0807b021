"""The law of the outbox: whatever is interleaved with whatever crash, every execution arrives, and as one event.

The broker may forget what it has confirmed, and receipts may be lost: then too, as long as receipts are asked for.
"""

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
from aurea_celery.events import ModelCall, TaskEvent, Usage, Verdict, encode_batch
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.senders import MemorySender

BATCH_EVENTS = 3
SETTINGS = Settings(batch_events=BATCH_EVENTS, resend_seconds=0.0)  # what has no receipt yet is sent again at once


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

    @initialize(with_receipts=st.booleans())
    def begin(self, with_receipts: bool) -> None:
        self.sender.reply_to = "receipts" if with_receipts else None
        self.begin_process()

    def begin_process(self) -> None:
        self.outbox = Outbox(self.folder, batch_events=BATCH_EVENTS, max_bytes=10**9)
        self.publisher = Publisher(self.outbox, self.sender, SETTINGS)

    @rule()
    def begin_execution(self) -> None:
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
    @rule(data=st.data(), is_sent=st.booleans())
    def finish(self, data: st.DataObject, is_sent: bool) -> None:
        """With sync delivery a copy may be sent by now."""
        event = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        event = msgspec.structs.replace(event, status="success", calls=tuple(self.calls[event.event_id]))
        kept = self.outbox.finish(event)
        self.expected[event.event_id] = event
        if is_sent and kept is not None:
            self.sender.send(encode_batch([(self.outbox.source, [kept])]), 1)

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

    @precondition(lambda self: self.sender.reply_to)
    @rule(loses_receipts=st.booleans())
    def forget(self, loses_receipts: bool) -> None:
        """The broker is restarted without its data, batches or receipts."""
        self.sender.forgets = not loses_receipts
        self.publisher.ship()
        self.sender.forgets = False
        if loses_receipts:
            self.sender.to_receive.clear()

    @rule()
    def die(self) -> None:
        """The process is killed: its descriptors, and so its lock, are gone; what it had open is lost."""
        self.outbox.close(after_fork=True)
        self.publisher._folders.release()
        for event in self.open.values():
            self.expected[event.event_id] = event
        self.open.clear()
        self.begin_process()

    @invariant()
    def nothing_arrives_that_did_not_happen(self) -> None:
        assert self.sender.events.keys() <= self.expected.keys()

    def teardown(self) -> None:
        self.die()
        for _ in range(4):  # sent, received, closed, received
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
        left = [path for path in self.folder.iterdir() if path.name != self.outbox.name and path.is_dir()]
        assert not left, "a folder is left behind"
        self.outbox.close()
        shutil.rmtree(self.folder)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
