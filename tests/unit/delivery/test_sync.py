"""Sync delivery: a copy of each event travels ahead; a broker that is away costs one wait; nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurea_celery.delivery import sync
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.delivery.sync import SyncDelivery
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.senders import MemorySender
from tests.support.servers import wait_until

TIMEOUT_SECONDS = 0.3


class SlowSender(MemorySender):
    """Answers only while it is let; counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.batches: list[int] = []
        self.failures = self.looks = 0

    def send(self, batch: bytes, event_count: int) -> None:
        """Take a batch, some time."""
        self.answers.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.batches.append(event_count)
        super().send(batch, event_count)

    def waiting_messages(self) -> int:
        """As many as it was told, some time."""
        self.looks += 1
        self.answers.wait()
        return super().waiting_messages()


class Host:
    """A process with an outbox and sync delivery."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sender = SlowSender()
        self.outbox = Outbox(root, batch_events=500, max_bytes=10**9)
        self.delivery = self.make_delivery()

    def make_delivery(self, *, broker_answers: bool = True) -> SyncDelivery:
        """Delivery as at the start of a process."""
        settings = Settings(sync_timeout_seconds=TIMEOUT_SECONDS)
        self.delivery = SyncDelivery(self.outbox, self.sender, settings, broker_answers=broker_answers)
        return self.delivery

    def end_task(self) -> None:
        """What happens when an execution ends."""
        kept = self.outbox.finish(make_event())
        assert kept is not None
        self.delivery.send(kept)

    def end_tasks_at_once(self, count: int) -> None:
        """The same in as many threads."""
        threads = [threading.Thread(target=self.end_task) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def publish(self) -> MemorySender:
        """What another process sends after this one's death."""
        sender = MemorySender()
        self.outbox.close()
        Publisher(Outbox(self.root, batch_events=500, max_bytes=10**9), sender, Settings()).ship()
        return sender


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A process whose broker answers, and is asked again soon."""
    monkeypatch.setattr(sync, "FIRST_BACK_OFF_SECONDS", 0.05)
    made = Host(tmp_path)
    yield made
    made.sender.answers.set()
    made.delivery.stop(10)
    made.outbox.close()


def test_the_event_is_there_when_the_task_goes_on_and_its_outbox_holds_the_same(host: Host) -> None:
    for number in range(3):
        host.end_task()
        assert len(host.sender.events) == number + 1, "the task went on before its event was there"
    published = host.publish()

    assert published.events == host.sender.events, "the writer takes it once"
    assert published.sources == host.sender.sources, "the books count it once"


def test_events_of_tasks_that_end_at_the_same_time_go_together(host: Host) -> None:
    host.end_task()
    host.sender.answers.clear()
    tasks = threading.Thread(target=host.end_tasks_at_once, args=(10,))
    host.delivery._settings = Settings(sync_timeout_seconds=60)
    tasks.start()
    wait_until(lambda: host.outbox.source.captured == 11, "ten tasks that wait")
    host.sender.answers.set()
    tasks.join()

    assert len(host.sender.events) == sum(host.sender.batches) == 11
    assert len(host.sender.batches) < 11


def test_a_broker_that_hangs_costs_one_wait_and_is_used_again_once_it_answers(host: Host) -> None:
    host.end_task()
    host.sender.answers.clear()
    begun = time.monotonic()
    for _ in range(200):
        host.end_task()
    assert time.monotonic() - begun < 50 * TIMEOUT_SECONDS, "more than one task has waited"
    assert len(host.sender.events) == 1

    host.sender.answers.set()
    wait_until(lambda: host.delivery._is_open, "the broker being used again")
    sent = len(host.sender.events)  # one was on its way while its task gave up
    host.end_task()
    assert len(host.sender.events) == sent + 1
    assert len(host.publish().events) == 202, "something is lost"


def test_a_broker_that_refuses_costs_nothing_further(host: Host) -> None:
    host.sender.failures = 2
    host.end_task()
    assert not host.delivery._is_open
    wait_until(lambda: host.delivery._is_open, "the broker being used again")
    host.end_task()

    assert len(host.sender.events) == 1
    assert len(host.publish().events) == 2


def test_a_connection_that_died_while_idle_costs_nothing(host: Host) -> None:
    host.end_task()
    host.sender.failures = 1
    host.end_task()

    assert len(host.sender.events) == 2


def test_while_the_writer_is_behind_events_stay_in_the_outbox(host: Host) -> None:
    host.sender.waiting = 10_000
    host.end_task()
    assert not host.sender.events
    host.sender.waiting = 0
    wait_until(lambda: host.delivery._is_open, "the queue being used again")
    host.end_task()

    assert len(host.sender.events) == 1
    assert len(host.publish().events) == 2


def test_a_child_of_a_process_whose_broker_is_away_does_not_wait_at_all(host: Host) -> None:
    host.sender.answers.clear()
    host.make_delivery(broker_answers=False)
    host.end_task()
    wait_until(lambda: host.sender.looks, "its thread asking the broker")
    assert not host.sender.batches, "no event was on its way"

    host.sender.answers.set()
    wait_until(lambda: host.delivery._is_open, "the broker being used")


def test_without_a_disk_the_event_is_sent_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host = Host(tmp_path / "file" / "outbox")
    host.end_task()
    assert len(host.sender.events) == 1
    host.delivery.stop(10)


def test_what_comes_after_the_stop_is_sent_too(host: Host) -> None:
    host.end_task()
    host.delivery.stop(10)
    host.end_task()

    assert len(host.sender.events) == 2
