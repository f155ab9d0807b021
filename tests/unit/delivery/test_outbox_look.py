"""Looking at outboxes from outside: what each process has captured, without getting in its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery.delivery.folder import is_owned
from aurea_celery.delivery.outbox_look import events_in, look_at_outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.delivery.records import HEAD, pack
from aurea_celery.events import Source
from aurea_celery.settings import Settings
from tests.support.events import BASE_US, make_event
from tests.support.outboxes import make_outbox
from tests.support.senders import MemorySender


def sources_in(root: Path) -> dict[str, Source]:
    look = look_at_outbox([root])
    assert look is not None
    return {one.source.source_id: one.source for one in look.folders}


@given(captured=st.integers(1, 10), left_out=st.integers(0, 2), sent=st.booleans())
def test_the_counters_are_those_of_the_process(
    captured: int, left_out: int, sent: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("outbox")
    outbox = make_outbox(root, batch_events=3)
    for _ in range(captured):
        outbox.finish(make_event())
    for _ in range(left_out):
        outbox.leave_out("excluded")
    if sent:
        Publisher(outbox, MemorySender(), Settings()).ship()

    assert sources_in(root) == {outbox.source.source_id: outbox.source}
    assert is_owned(outbox.path)
    outbox.close()


def test_the_finished_events_that_a_folder_holds(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, batch_events=3)
    events = [make_event(ended_at_us=BASE_US + 1_500 + number) for number in range(8)]
    for event in events:
        outbox.begin(event)
        outbox.finish(event)
    outbox.begin(make_event())

    found = [key for segment in events_in(outbox.path) for key in segment]

    assert sorted(found) == sorted((event.event_id, event.ended_at_us) for event in events)
    assert list(events_in(tmp_path / "gone")) == []
    outbox.close()


def test_what_was_sent_is_held_until_it_has_arrived(tmp_path: Path) -> None:
    outbox, sender = make_outbox(tmp_path, batch_events=3), MemorySender()
    sender.reply_to = "receipts"
    publisher = Publisher(outbox, sender, Settings())
    for _ in range(9):
        outbox.finish(make_event())
    publisher.ship()
    held = sum(map(len, events_in(outbox.path)))
    outbox.finish(make_event())
    publisher.ship()

    assert (held, sum(map(len, events_in(outbox.path)))) == (9, 1)
    outbox.close()


def test_what_is_no_outbox_is_passed_over_and_counted(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path, batch_events=3)
    outbox.finish(make_event())
    (tmp_path / ".being-made").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "0000000001.seg").write_bytes(pack(HEAD, b"{}"))

    look = look_at_outbox([tmp_path])

    assert look is not None
    assert [one.path for one in look.folders] == [outbox.path]
    assert look.unreadable == 1
    assert look_at_outbox([tmp_path / "never made"]) is None
    assert look_at_outbox([tmp_path / "foreign" / "0000000001.seg"]) == (tmp_path / "foreign" / "0000000001.seg", [], 1)
    outbox.close()
