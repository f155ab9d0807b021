"""Segment files: whole lines are read, whatever was cut, damaged or written by a later release."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.delivery.folder import Folder
from aurea_celery.delivery.records import DONE, OPEN, pack, unpack
from aurea_celery.events import encode
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, publish
from tests.support.senders import MemorySender


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

    intact = whole[: cut + 1].count(b"\n") - 1  # an event whose line lacks nothing but its line break is whole
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
