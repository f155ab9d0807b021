"""A damaged outbox: whatever is intact arrives, and once; what is gone is counted and said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery import _guard
from aurea_celery.delivery.lock_file import LOCK
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import Source, TaskEvent
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, publish
from tests.support.senders import MemorySender

SAID = "what could not be read there is counted as dropped"
EVENTS = 12


class Lines(logging.Handler):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    _guard.logger.addHandler(handler)
    yield handler
    _guard.logger.removeHandler(handler)


def make_dead(root: Path, *, is_begun: bool = False) -> tuple[Path, list[TaskEvent]]:
    """The folder of a process that was killed after its events, in several segments."""
    outbox = make_outbox(root, batch_events=5)
    events = [make_event() for _ in range(EVENTS)]
    for event in events:
        if is_begun:
            outbox.begin(event)
        outbox.finish(event)
    outbox.close(after_fork=True)
    return outbox.path, events


def adopt(root: Path) -> MemorySender:
    """Ship what the dead have left, as often as it takes."""
    sender = MemorySender()
    publisher = publish(root, sender)
    for _ in range(3):
        publisher.ship()
    publisher.release_after_fork()
    return sender


def only_source(sender: MemorySender) -> Source:
    (source,) = sender.sources.values()
    return source


def check_books(sender: MemorySender, events: list[TaskEvent], lines: Lines) -> None:
    source, lost = only_source(sender), EVENTS - len(sender.events)
    assert sender.sent_count == len(sender.events), "something was sent twice"
    assert list(sender.events.values()) == [one for one in events if one.event_id in sender.events]
    assert (source.captured, source.dropped) == (EVENTS, {"damaged": lost} if lost else {})
    said = sum(SAID in line for line in lines.said)
    assert said <= 1
    assert said or not lost


EXAMPLES = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(data=st.data())
def test_one_bit_anywhere_costs_the_event_that_it_is_in(
    data: st.DataObject, lines: Lines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    lines.said.clear()
    _guard._last_logged.clear()
    folder, events = make_dead(root)
    path = data.draw(st.sampled_from(sorted(folder.glob("*.seg"))))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)

    sender = adopt(root)

    assert len(sender.events) >= EVENTS - 1
    check_books(sender, events, lines)


@EXAMPLES
@given(data=st.data())
def test_a_cut_anywhere_costs_what_was_behind_it(
    data: st.DataObject, lines: Lines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    lines.said.clear()
    _guard._last_logged.clear()
    folder, events = make_dead(root)
    path = data.draw(st.sampled_from(sorted(folder.glob("*.seg"))))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])

    sender = adopt(root)

    assert len(sender.events) >= EVENTS - content[cut:].count(b"\n")
    check_books(sender, events, lines)


@EXAMPLES
@given(data=st.data())
def test_a_damaged_lock_file_costs_nothing(
    data: st.DataObject, lines: Lines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    folder, events = make_dead(root)
    content = bytearray((folder / LOCK).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / LOCK).write_bytes(content)

    sender = adopt(root)

    assert list(sender.events.values()) == events
    check_books(sender, events, lines)


def test_no_segment_can_say_whose_it_is(tmp_path: Path, lines: Lines) -> None:
    folder, events = make_dead(tmp_path)
    for path in folder.glob("*.seg"):
        content = bytearray(path.read_bytes())
        content[40] ^= 1
        path.write_bytes(content)

    sender = adopt(tmp_path)

    check_books(sender, events, lines)
    assert len(sender.events) == EVENTS


def test_nothing_says_whose_it_is(tmp_path: Path) -> None:
    folder, events = make_dead(tmp_path)
    for path in (*folder.glob("*.seg"), folder / LOCK):
        path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if line[:1] == b"D"))

    sender = adopt(tmp_path)

    assert list(sender.events.values()) == events
    assert only_source(sender).captured == EVENTS


def test_a_living_process_knows_who_it_is(tmp_path: Path, lines: Lines) -> None:
    outbox, sender = make_outbox(tmp_path, batch_events=5), MemorySender()
    events = [make_event() for _ in range(EVENTS)]
    publisher = Publisher(outbox, sender, Settings(batch_events=5))
    for number, event in enumerate(events):
        outbox.finish(event)
        if number == EVENTS // 2:
            for path in outbox.path.glob("*.seg"):
                content = bytearray(path.read_bytes())
                content[40] ^= 1
                path.write_bytes(content)
        publisher.ship()
    publisher.ship()

    check_books(sender, events, lines)
    assert len(sender.events) == EVENTS
    assert only_source(sender).source_id == outbox.source.source_id


def test_a_cut_of_an_ended_execution_keeps_what_it_had_spent(tmp_path: Path) -> None:
    folder, events = make_dead(tmp_path, is_begun=True)
    last = max(folder.glob("*.seg"))
    last.write_bytes(last.read_bytes()[:-5])

    sender = adopt(tmp_path)

    assert sender.events.keys() == {event.event_id for event in events}
    assert sender.events[events[-1].event_id].status == "lost"
    assert only_source(sender).dropped == {"damaged": 1}


def test_a_folder_with_segments_that_were_sent_is_not_taken_for_damaged(tmp_path: Path, lines: Lines) -> None:
    outbox, sender = make_outbox(tmp_path, batch_events=5), MemorySender()
    publisher = Publisher(outbox, sender, Settings(batch_events=5))
    for _ in range(EVENTS):
        outbox.finish(make_event())
        publisher.ship()
    outbox.close(after_fork=True)
    other = adopt(tmp_path)

    assert len(sender.events) == EVENTS
    assert only_source(other).captured == EVENTS
    assert not only_source(other).dropped
    assert not lines.said


@EXAMPLES
@given(data=st.data())
def test_a_cut_of_the_last_segment_costs_no_open_execution(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    outbox = make_outbox(root, batch_events=5)
    opened = [make_event(status="lost") for _ in range(3)]
    for event in opened:
        outbox.begin(event)
    for _ in range(EVENTS):
        outbox.finish(make_event())
    outbox.close(after_fork=True)
    last = max(outbox.path.glob("*.seg"))
    content = last.read_bytes()
    last.write_bytes(content[: data.draw(st.integers(0, len(content)))])

    sender = adopt(root)

    assert {event.event_id for event in opened} <= sender.events.keys()
