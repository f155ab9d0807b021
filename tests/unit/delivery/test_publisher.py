"""The publisher: whose folders it ships, when it waits, how it stops."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from aurea_celery.delivery.folder import is_owned
from aurea_celery.delivery.folders import MOST_ADOPTED
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, open_descriptors, publish
from tests.support.senders import MemorySender
from tests.support.servers import wait_until


def test_a_living_owners_folder_is_left_alone(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    sender = MemorySender()
    publish(tmp_path, sender)

    assert is_owned(outbox.path)
    assert not sender.events
    outbox.close()
    assert not is_owned(outbox.path)


def test_a_pool_childs_folder_is_its_parents_business(tmp_path: Path) -> None:
    parent = make_outbox(tmp_path)
    parent.open_folder()
    child = Outbox(tmp_path, batch_events=500, max_bytes=10**9, parent=parent.name)
    child.finish(make_event())
    child.close()
    stranger, own = MemorySender(), MemorySender()
    publish(tmp_path, stranger)
    assert not stranger.events, "a stranger took a dead child's folder while the parent lives"

    Publisher(parent, own, Settings()).ship()

    assert len(own.events) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(f"{parent.name}.")] == []


def test_while_the_writer_is_behind_events_stay(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    sender = MemorySender()
    sender.waiting = 10_000
    publisher = Publisher(outbox, sender, Settings())
    publisher.ship()
    assert not sender.events

    sender.waiting = 9_999
    publisher._backlog._checked_at = float("-inf")
    publisher.ship()
    assert len(sender.events) == 1


def test_shipped_segments_are_removed_and_open_executions_carried_on(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, batch_events=10)
    publisher = Publisher(outbox, MemorySender(), Settings(batch_events=10))
    long = make_event()
    outbox.begin(long)
    for _ in range(500):
        outbox.finish(make_event())
        publisher.ship()

    assert len(list(outbox.path.glob("*.seg"))) <= 2, "old segments stay because of one long execution"
    outbox.close(after_fork=True)
    sender = MemorySender()
    publish(tmp_path, sender)
    assert sender.events[long.event_id].status == "lost"


def test_events_are_sent_in_batches_of_the_setting(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    for _ in range(25):
        outbox.finish(make_event())
    sizes: list[int] = []

    class Counting(MemorySender):
        def send(self, batch: bytes, event_count: int) -> None:
            super().send(batch, event_count)
            sizes.append(event_count)

    Publisher(outbox, Counting(), Settings(batch_events=10)).ship()

    assert sizes == [10, 10, 5]


def test_a_folder_that_cannot_be_handled_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("1-bad", "9-bad"):
        (tmp_path / name / "lock").mkdir(parents=True)
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    dead = make_outbox(tmp_path)
    dead.finish(make_event())
    dead.close()
    sender = MemorySender()

    Publisher(outbox, sender, Settings()).ship()

    assert len(sender.events) == 2
    assert "cannot handle the outbox folder" in caplog.text


def test_many_dead_folders_cost_few_descriptors(tmp_path: Path) -> None:
    for _ in range(3 * MOST_ADOPTED):
        dead = make_outbox(tmp_path)
        dead.finish(make_event())
        dead.close()
    outbox, sender = make_outbox(tmp_path), MemorySender()
    publisher = Publisher(outbox, sender, Settings())
    sender.fail_before = True
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(ConnectionError):
            publisher.ship()
    assert open_descriptors() <= before + MOST_ADOPTED

    sender.fail_before = False
    for _ in range(3):
        publisher.ship()
    assert len(sender.events) == 3 * MOST_ADOPTED
    assert open_descriptors() == before


def test_a_stop_that_took_too_long_does_not_end_the_publisher_for_ever(tmp_path: Path) -> None:
    class Slow(MemorySender):
        """A broker that answers late."""

        def send(self, batch: bytes, event_count: int) -> None:
            time.sleep(0.3)
            super().send(batch, event_count)

    outbox, sender = make_outbox(tmp_path), Slow()
    publisher = Publisher(outbox, sender, Settings(flush_interval_seconds=0.01))
    outbox.finish(make_event())
    publisher.ensure_running()
    publisher.stop(0.01)

    def sends_again() -> bool:
        outbox.finish(make_event())
        publisher.ensure_running()
        return len(sender.events) > 1

    wait_until(sends_again, "an event after the stop being sent", seconds=10)
    publisher.stop(5)


def test_under_steady_load_there_is_no_message_for_every_few_events(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)

    class Busy(MemorySender):
        """While it sends, events come."""

        def send(self, batch: bytes, event_count: int) -> None:
            super().send(batch, event_count)
            outbox.finish(make_event())

    sender = Busy()
    outbox.finish(make_event())

    Publisher(outbox, sender, Settings()).ship()

    assert sender.sent_count == 1, "it goes on as long as there is an event"
