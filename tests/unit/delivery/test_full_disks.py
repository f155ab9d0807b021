"""A full outbox, a full disk: what is dropped is counted, what can be kept is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aurea_celery.delivery.overflow import Overflow
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import ModelCall, Usage
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, publish
from tests.support.senders import MemorySender


def test_a_full_outbox_drops_and_counts_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.RETRY_SECONDS", 0.0)
    outbox = make_outbox(tmp_path, batch_events=5, max_bytes=3_000)
    sender = MemorySender()
    publisher = Publisher(outbox, sender, Settings())
    for _ in range(100):
        outbox.finish(make_event())
    dropped = outbox.source.dropped["outbox_full"]
    assert 0 < dropped < 100

    publisher.ship()
    outbox.finish(make_event())
    publisher.ship()

    assert len(sender.events) == 101 - dropped
    (source,) = sender.sources.values()
    assert (source.captured, source.dropped) == (101, {"outbox_full": dropped})


def test_what_was_dropped_is_known_after_the_process_has_ended(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, batch_events=1, max_bytes=500)
    for _ in range(10):
        outbox.finish(make_event())
    outbox.close()
    sender = MemorySender()
    publish(tmp_path, sender)

    (source,) = sender.sources.values()
    assert source.captured == 10
    assert source.dropped == {"outbox_full": 10 - len(sender.events)}


def test_without_a_disk_events_go_through_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outbox = make_outbox(tmp_path / "file" / "outbox")
    sent = [make_event() for _ in range(3)]
    for event in sent:
        outbox.begin(event)
        outbox.finish(event)
    sender = MemorySender()
    Publisher(outbox, sender, Settings()).ship()

    assert list(sender.events.values()) == sent


def test_an_execution_that_ended_on_a_full_disk_is_not_lost_too(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    event = make_event()
    outbox.begin(event)
    broken, outbox._segment_fd = outbox._segment_fd, os.open("/dev/full", os.O_WRONLY)
    outbox.finish(event)
    os.close(broken)
    outbox.close()

    own, other = MemorySender(), MemorySender()
    Publisher(outbox, own, Settings()).ship()
    publish(tmp_path, other)

    assert own.events == {event.event_id: event}
    assert other.events == {}, "the same execution was closed as lost by the adopter"


def test_a_disk_that_is_full_at_a_segments_begin_keeps_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.RETRY_SECONDS", 0.0)
    outbox = make_outbox(tmp_path, batch_events=1)
    long = make_event(status="lost")
    outbox.begin(long)
    outbox.add_call(long.event_id, ModelCall(usage=Usage(total_tokens=9), model="gpt-4"))
    outbox.finish(make_event())
    write, room = os.write, [300]

    def nearly_full(descriptor: int, data: bytes) -> int:
        room[0] -= (taken := min(len(data), room[0]))
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:taken])

    monkeypatch.setattr("aurea_celery.delivery.outbox.os.write", nearly_full)
    outbox.finish(make_event())
    outbox.close(after_fork=True)
    monkeypatch.undo()

    sender = MemorySender()
    publish(tmp_path, sender)

    assert sender.events[long.event_id].status == "lost"
    assert [call.usage.token_count for call in sender.events[long.event_id].calls] == [9]


def test_what_went_through_memory_is_not_taken_for_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.RETRY_SECONDS", 0)
    outbox, sender = make_outbox(tmp_path, batch_events=2), MemorySender()
    publisher = Publisher(outbox, sender, Settings())
    write = outbox._write

    def full(_line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for _ in range(3):
        outbox.finish(make_event())
    publisher.ship()
    monkeypatch.setattr(outbox, "_write", full)
    for _ in range(3):
        outbox.finish(make_event())
    monkeypatch.setattr(outbox, "_write", write)
    for _ in range(3):
        outbox.finish(make_event())
    publisher.ship()

    (source,) = sender.sources.values()
    assert (source.captured, len(sender.events), source.dropped) == (9, 9, {})


def test_a_segment_that_is_sent_while_the_folders_size_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its process would take the disk for broken, and a busy one would soon drop events."""
    outbox = make_outbox(tmp_path, batch_events=1)
    listed = os.listdir
    monkeypatch.setattr("os.listdir", lambda path: [*listed(path), "0000000000.seg"])
    for _ in range(3):
        outbox.finish(make_event())

    assert len(outbox.overflow) == 0
    assert len(list(outbox.path.glob("*.seg"))) == 3


def test_what_is_being_sent_from_memory_is_not_given_up_and_then_arrives_all_the_same() -> None:
    overflow = Overflow(limit=3)
    for number in range(3):
        assert overflow.put(b"%d" % number)
    assert overflow.read(2) == [b"0", b"1"]

    assert not overflow.put(b"3")
    overflow.commit()

    assert overflow.read(10) == [b"3"], "the dropped one is 2: 0 and 1 were on their way"
