"""What was sent stays in the outbox: for its time, up to half of what the outbox may hold, however many messages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from aurea_celery.delivery.publisher import Publisher
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox
from tests.support.senders import MemorySender


class Clock:
    """The monotonic clock, some seconds ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead, real = 0.0, time.monotonic
        monkeypatch.setattr("time.monotonic", lambda: real() + self.ahead)


class Forgetful(MemorySender):
    """A broker that forgets what it confirms, and has no writer."""

    def __init__(self) -> None:
        super().__init__()
        self.reply_to, self.forgets = "receipts", True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.seg"))


def test_many_small_messages_stay_and_all_arrive_once_the_broker_has_forgotten_them(
    tmp_path: Path, clock: Clock
) -> None:
    outbox, sender = make_outbox(tmp_path), Forgetful()
    publisher = Publisher(outbox, sender, Settings())
    for _ in range(1_500):
        outbox.finish(make_event())
        publisher.ship()

    sender.forgets = False
    clock.ahead += 31
    publisher.ship()

    assert len(sender.events) == 1_500


def test_sent_events_take_half_of_the_outbox_at_most_and_no_new_one_is_dropped_for_them(tmp_path: Path) -> None:
    most = 1024 * 1024
    outbox, sender = make_outbox(tmp_path, batch_events=100, max_bytes=most), Forgetful()
    publisher = Publisher(outbox, sender, Settings(batch_events=100, outbox_max_bytes=most))
    for _ in range(60):
        for _ in range(100):
            outbox.finish(make_event())
        publisher.ship()
        publisher.ship()

    assert most / 3 < bytes_in(outbox.path) <= most / 2 + 100_000
    assert outbox.source.dropped == {}


def test_each_batch_stays_for_its_own_time(tmp_path: Path, clock: Clock) -> None:
    outbox, sender = make_outbox(tmp_path, batch_events=1), Forgetful()
    publisher = Publisher(outbox, sender, Settings(batch_events=1, resend_seconds=10_000))
    for _ in range(3):
        outbox.finish(make_event())
        publisher.ship()
        clock.ahead += 1_000
    clock.ahead += 500
    publisher.ship()
    left_before = len(list(outbox.path.glob("*.seg")))
    clock.ahead += 200  # 3,700 s, 2,700 s and 1,700 s after they were sent
    publisher.ship()
    outbox.finish(make_event())
    publisher.ship()

    assert (left_before, len(next(iter(publisher._folders)).in_flight)) == (3, 3)


def test_while_receipts_come_nothing_is_left_to_the_broker(tmp_path: Path, clock: Clock) -> None:
    outbox, sender = make_outbox(tmp_path, batch_events=1), Forgetful()
    publisher = Publisher(outbox, sender, Settings(batch_events=1, resend_seconds=100_000))
    sender.forgets = False
    for number in range(3):
        outbox.finish(make_event())
        publisher.ship()
        receipts = sorted(sender.to_receive)
        sender.to_receive = set()
        if number == 0:
            first = receipts
    clock.ahead += 3_000
    sender.to_receive = set(first)
    publisher.ship()
    clock.ahead += 3_000
    publisher.ship()

    assert len(next(iter(publisher._folders)).in_flight) == 2, "a writer has answered within the hour"


def test_a_writer_that_gives_no_receipts_is_sent_everything_again_ever_more_rarely(
    tmp_path: Path, clock: Clock
) -> None:
    outbox, sender = make_outbox(tmp_path), Forgetful()
    publisher = Publisher(outbox, sender, Settings())
    sends = 0

    def count(batch: bytes, event_count: int) -> None:
        nonlocal sends
        sends += event_count > 0

    sender.send = count  # type: ignore[method-assign]  # of this one sender
    outbox.finish(make_event())
    for _ in range(24 * 60):
        publisher.ship()
        clock.ahead += 60

    assert sends <= 9
