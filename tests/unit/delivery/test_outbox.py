"""Outbox, folder and publisher: damage, full disks, full outboxes, a writer that is behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.delivery.folder import Folder, is_owned
from aurea_celery.delivery.folders import MOST_ADOPTED
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.overflow import Overflow
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.delivery.records import DONE, OPEN, pack, unpack
from aurea_celery.events import ModelCall, Usage, encode
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.senders import MemorySender
from tests.support.servers import wait_until


def make_outbox(root: Path, batch_events: int = 500, max_bytes: int = 10**9) -> Outbox:
    return Outbox(root, batch_events=batch_events, max_bytes=max_bytes)


def publish(root: Path, sender: MemorySender) -> Publisher:
    """A publisher of another process, which adopts what it finds."""
    publisher = Publisher(make_outbox(root), sender, Settings())
    publisher.ship()
    return publisher


@given(st.binary().map(lambda payload: payload.replace(b"\n", b"")), st.data())
def test_a_line_that_is_cut_or_damaged_is_never_taken_for_whole(payload: bytes, data: st.DataObject) -> None:
    line = pack(DONE, payload)
    position = data.draw(st.integers(0, len(line) - 2))
    flipped = bytes([line[position] ^ data.draw(st.integers(1, 255))])
    damaged = line[:position] + flipped + line[position + 1 :]

    assert [record.payload for record in unpack(line)] == [payload]
    assert list(unpack(line[:position])) == []
    assert not any(record.kind == DONE and record.payload != payload for record in unpack(damaged))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_of_a_segment_that_is_cut_anywhere_all_whole_events_arrive(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    outbox = make_outbox(root)
    sent = [make_event() for _ in range(5)]
    for event in sent:
        outbox.finish(event)
    outbox.close()
    segment = next(outbox.path.glob("*.seg"))
    whole = segment.read_bytes()
    cut = data.draw(st.integers(len(whole.split(b"\n")[0]) + 1, len(whole)))
    segment.write_bytes(whole[:cut])

    sender = MemorySender()
    publish(root, sender)

    intact = whole[:cut].count(b"\n") - 1
    assert list(sender.events.values()) == sent[:intact]


def test_a_damaged_line_is_counted(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    outbox.finish(make_event())
    outbox.close()
    segment = next(outbox.path.glob("*.seg"))
    segment.write_bytes(segment.read_bytes().replace(b'"success"', b'"SUCCESS"', 1))

    sender = MemorySender()
    publish(tmp_path, sender)

    assert len(sender.events) == 1
    assert [source.dropped for source in sender.sources.values()] == [{"damaged": 1}]


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
    publisher._queue_checked_at = float("-inf")
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


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_folder_that_cannot_be_shown_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.RETRY_SECONDS", 0.0)
    outbox, before = make_outbox(tmp_path), open_descriptors()
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fail_to_rename)
        for _ in range(10):
            outbox.finish(make_event())
    assert open_descriptors() == before

    outbox.finish(make_event())
    sender = MemorySender()
    Publisher(outbox, sender, Settings()).ship()
    assert len(sender.events) == 11


def fail_to_rename(_path: Path, _target: Path) -> Path:
    raise OSError(28, "No space left on device")


def test_an_outbox_that_was_closed_takes_a_new_folder(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    outbox.close()
    outbox.finish(make_event())

    assert len(list(tmp_path.glob("[!.]*"))) == 2
    sender = MemorySender()
    Publisher(outbox, sender, Settings()).ship()
    assert len(sender.events) == 2


@pytest.mark.parametrize("what", ["folder", "root", "segment"])
def test_an_outbox_that_is_removed_under_its_process_is_made_anew(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.LOOK_SECONDS", 0)
    outbox = make_outbox(tmp_path / "outbox")
    gone, unfinished, kept = make_event(), make_event(), make_event()
    outbox.begin(unfinished)
    outbox.finish(gone)
    if what == "segment":
        next(outbox.path.glob("*.seg")).unlink()
    else:
        shutil.rmtree(outbox.path if what == "folder" else outbox.root)

    outbox.finish(kept)
    outbox.finish(unfinished)

    assert is_owned(outbox.path), "nobody else takes it for a dead one's"
    sender = MemorySender()
    Publisher(outbox, sender, Settings()).ship()
    assert set(sender.events) == {kept.event_id, unfinished.event_id}
    assert outbox.source.captured == 3, "the books show that one is missing"
    assert len(outbox.overflow) == 0
    assert caplog.text.count("was removed while in use") == (what != "segment")
    assert "pending in aurea reconcile" in caplog.text or what == "segment"


def test_interrupting_itself_ends_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal's handler or the garbage collector does, in the middle of a write."""
    outbox = make_outbox(tmp_path)
    write = outbox._write

    def interrupted(line: bytes) -> None:
        if not outbox.source.captured:
            outbox.finish(make_event())
        write(line)

    monkeypatch.setattr(outbox, "_write", interrupted)
    outbox.finish(make_event())

    assert outbox.source.captured == 2
    assert outbox.source.dropped == {"interrupted_itself": 1}


def test_an_execution_whose_lines_make_no_event_is_counted_and_gone(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.begin(make_event(task_name="x" * 300))
    outbox.begin(make_event())
    outbox.close()
    sender = MemorySender()
    publish(tmp_path, sender)

    assert len(sender.events) == 1
    (source,) = sender.sources.values()
    assert (source.captured, source.dropped) == (2, {"unreadable": 1})


def test_a_folder_that_is_gone_reads_as_empty(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "gone")
    assert folder.read(10) is None
    assert not folder.adopt()


def test_encoded_events_never_hold_a_line_break() -> None:
    assert b"\n" not in encode(make_event(job_id="two\nlines"))


class TimeIsOver(BaseException):
    """What a time limit raises wherever the task happens to be."""


def test_a_time_limit_anywhere_in_a_handler_neither_doubles_nor_blocks(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise TimeIsOver

    outbox = make_outbox(tmp_path, batch_events=20)
    call = ModelCall(usage=Usage(total_tokens=1), model="gpt-4")
    begun: set[str] = set()
    interrupted = 0
    outbox.open_folder()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(6_000):
            event = make_event(status="lost")
            try:
                signal.setitimer(signal.ITIMER_REAL, (number % 150 + 1) * 1e-6)
                try:
                    outbox.begin(event)
                    begun.add(event.event_id)
                    outbox.add_call(event.event_id, call)
                    outbox.finish(msgspec.structs.replace(event, status="success", calls=(call,)))
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except TimeIsOver:
                interrupted += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100, "no time limit hit"
    source = outbox.source
    outbox.close(after_fork=True)  # as the process's death does

    sender = MemorySender()
    publish(tmp_path, sender)

    assert begun <= sender.events.keys(), "an execution is missing"
    (sent,) = sender.sources.values()
    assert sent.captured == len(sender.events), "an execution came twice"
    assert source.dropped == {}


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


def test_a_line_that_a_later_release_wrote_holds_nobody_up(tmp_path: Path) -> None:
    strange = make_outbox(tmp_path)
    strange.finish(make_event())
    strange.close(after_fork=True)
    segment = next(strange.path.glob("*.seg"))
    segment.write_bytes(segment.read_bytes() + pack(OPEN, b'{"of a later release": 1}'))
    orphan = make_outbox(tmp_path)
    orphan.begin(make_event(status="lost"))
    orphan.close(after_fork=True)

    sender = MemorySender()
    publish(tmp_path, sender)

    assert sorted(event.status for event in sender.events.values()) == ["lost", "success"]


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
