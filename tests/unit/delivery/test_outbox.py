"""The outbox: its folder, and what may happen to a process in the middle of writing."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from aurea_celery.delivery.folder import is_owned
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import ModelCall, Usage
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, open_descriptors, publish
from tests.support.senders import MemorySender


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
    assert "is counted as dropped" in caplog.text or what == "segment"


@pytest.mark.parametrize("what", ["folder", "root", "segment"])
def test_what_was_in_a_removed_outbox_is_counted_as_dropped(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aurea_celery.delivery.outbox.LOOK_SECONDS", 0)
    outbox = make_outbox(tmp_path / "outbox", batch_events=2)
    sender = MemorySender()
    publisher = Publisher(outbox, sender, Settings())
    sent, *gone, kept = (make_event() for _ in range(7))
    outbox.finish(sent)
    publisher.ship()
    for event in gone:
        outbox.finish(event)
    if what == "segment":
        for segment in outbox.path.glob("*.seg"):
            segment.unlink()
    else:
        shutil.rmtree(outbox.path if what == "folder" else outbox.root)
    publisher.ship()  # what it knows of the folder stays known while it is not there

    outbox.finish(kept)
    publisher.ship()

    assert list(sender.events) == [sent.event_id, kept.event_id]
    (source,) = sender.sources.values()
    assert (source.captured, source.dropped) == (7, {"outbox_removed": 5})


def test_what_was_sent_before_the_outbox_was_removed_is_not_counted_as_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its receipt never comes: it cannot be sent again, and may have arrived."""
    monkeypatch.setattr("aurea_celery.delivery.outbox.LOOK_SECONDS", 0)
    outbox, sender = make_outbox(tmp_path), MemorySender()
    sender.reply_to = "receipts"
    publisher = Publisher(outbox, sender, Settings(resend_seconds=0.0))
    outbox.finish(make_event())
    publisher.ship()
    sender.to_receive.clear()
    outbox.finish(make_event())
    shutil.rmtree(outbox.path)
    publisher.ship()
    outbox.finish(make_event())
    publisher.ship()

    (source,) = sender.sources.values()
    assert (source.captured, len(sender.events), source.dropped) == (3, 2, {"outbox_removed": 1})


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
