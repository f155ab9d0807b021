"""An outbox that cannot be written: events go among the temporary files, and what is only in memory is counted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from kombu import Connection

from aurea_celery.delivery.folders import outbox_roots
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.outbox_look import look_at_outbox
from aurea_celery.delivery.own_folder import OwnFolder, make_root, may_be_read
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import ModelCall, Usage
from aurea_celery.settings import Settings, temporary_folder
from tests.support.events import make_event
from tests.support.senders import MemorySender

CALL = ModelCall(usage=Usage(total_tokens=9), model="gpt-4")


def make(tmp_path: Path, batch_events: int = 500, parent: str | None = None) -> Outbox:
    return Outbox(
        tmp_path / "outbox", tmp_path / "elsewhere", batch_events=batch_events, max_bytes=10**9, parent=parent
    )


def ship(publisher: Publisher, times: int = 4) -> None:
    for _ in range(times):
        publisher.ship()


class Disk:
    """Which of the roots can be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken: set[str] = set()
        write, make_folder = os.write, OwnFolder.make

        def checked_write(descriptor: int, data: bytes) -> int:
            self.check(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            return write(descriptor, data)

        def checked_make(folder: OwnFolder, head: object) -> None:
            self.check(str(folder.path))
            make_folder(folder, head)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr("aurea_celery.delivery.outbox.os.write", checked_write)
        monkeypatch.setattr(OwnFolder, "make", checked_make)
        monkeypatch.setattr("aurea_celery.delivery.outbox.RETRY_SECONDS", 0.0)
        monkeypatch.setattr("aurea_celery.delivery.outbox.RETURN_SECONDS", 0.0)

    def check(self, path: str) -> None:
        if any(f"/{name}/" in path for name in self.broken):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_what_the_outbox_does_not_take_is_among_the_temporary_files_and_arrives(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()
    outbox = make(tmp_path)
    ended, cut_short = make_event(), make_event(status="lost")
    outbox.begin(cut_short)
    outbox.add_call(cut_short.event_id, CALL)
    outbox.finish(ended)
    assert len(outbox.overflow) == 0
    outbox.close(after_fork=True)  # as SIGKILL does

    sender = MemorySender()
    ship(Publisher(make(tmp_path), sender, Settings()))

    assert sender.events[ended.event_id] == ended
    assert [call.usage.token_count for call in sender.events[cut_short.event_id].calls] == [9]
    assert [source.dropped for source in sender.sources.values()] == [{}]


def test_a_child_whose_outbox_cannot_be_written_is_its_parents_business_there_too(tmp_path: Path) -> None:
    parent = make(tmp_path)
    parent.open_folder()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    child = Outbox(tmp_path / "elsewhere", batch_events=500, max_bytes=10**9, parent=parent.name)
    child.finish(make_event())
    stranger, own = MemorySender(), MemorySender()
    ship(Publisher(make(tmp_path), stranger, Settings()))
    ship(Publisher(parent, own, Settings()))

    assert not stranger.events
    assert len(own.events) == 1
    child.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_disks_come_and_go_and_every_execution_arrives_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        root = tmp_path_factory.mktemp("disks")
        disk, sender = Disk(patched), MemorySender()
        outbox = make(root, batch_events=3)
        publisher = Publisher(outbox, sender, Settings(batch_events=3))
        opened: list[str] = []
        expected = 0
        for _ in range(data.draw(st.integers(1, 25))):
            match data.draw(st.sampled_from(["begin", "finish", "disk", "ship"])):
                case "begin":
                    event = make_event(status="lost")
                    outbox.begin(event)
                    opened.append(event.event_id)
                case "finish":
                    event_id = opened.pop() if opened else make_event().event_id
                    outbox.finish(make_event(event_id=event_id))
                    expected += 1
                case "disk":
                    disk.broken = data.draw(st.sets(st.sampled_from(["outbox", "elsewhere"])))
                case "ship":
                    publisher.ship()
        publisher.ship()
        disk.broken = set()
        captured, in_memory = outbox.source.captured, len(outbox.overflow)
        outbox.close(after_fork=True)
        publisher.release_after_fork()
        ship(Publisher(make(root), sender, Settings()), 6)

        ended = [event for event in sender.events.values() if event.status == "success"]
        assert (captured, in_memory, len(ended)) == (expected, 0, expected)
        assert len(sender.events) <= expected + len(opened)
        assert not any(source.dropped for source in sender.sources.values())


def test_what_was_only_in_memory_is_in_the_books_of_a_killed_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    outbox = make(tmp_path)
    outbox.finish(make_event())
    disk.broken = {"outbox", "elsewhere"}
    for _ in range(10):
        outbox.finish(make_event())
    assert len(outbox.overflow) == 10
    look = look_at_outbox(outbox.roots)
    assert look is not None
    assert [one.source.captured for one in look.folders] == [11]

    outbox.close(after_fork=True)
    disk.broken = set()
    sender = MemorySender()
    ship(Publisher(make(tmp_path), sender, Settings()))

    (source,) = sender.sources.values()
    assert (len(sender.events), source.captured, source.dropped) == (1, 11, {})


def test_a_main_process_tells_of_what_its_child_has_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, sender = Disk(monkeypatch), MemorySender()
    parent = make(tmp_path)
    parent.open_folder()
    child = make(tmp_path, parent=parent.name)
    publisher = Publisher(parent, sender, Settings())
    child.finish(make_event())
    publisher.ship()
    disk.broken = {"outbox", "elsewhere"}
    for _ in range(10):
        child.finish(make_event())
    publisher.ship()

    assert sender.sources[child.source.source_id].captured == 11
    assert len(sender.events) == 1
    child.close()
    parent.close()


def test_a_child_sends_what_is_in_its_memory_and_leaves_its_folder_to_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, own, parents = Disk(monkeypatch), MemorySender(), MemorySender()
    parent = make(tmp_path, batch_events=2)
    parent.open_folder()
    child = make(tmp_path, batch_events=2, parent=parent.name)
    shipping, childs = Publisher(parent, parents, Settings()), Publisher(child, own, Settings())
    for broken in (False, True, False, True, False):
        disk.broken = {"outbox", "elsewhere"} if broken else set()
        for _ in range(3):
            child.finish(make_event())
        childs.ship()
        shipping.ship()
    child.close(after_fork=True)
    ship(shipping)

    assert (len(own.events), len(parents.events)) == (6, 9)
    assert not own.events.keys() & parents.events.keys()
    assert (parents.sources[child.source.source_id].captured, child.source.captured) == (15, 15)
    assert not parents.sources[child.source.source_id].dropped
    parent.close()


def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = temporary_folder()
    make_root(base / "emergency" / "here")
    base.chmod(0o777)

    with pytest.raises(PermissionError):
        make_root(base / "emergency" / "here")
    assert not may_be_read(base / "emergency" / "here")
    base.rename(tmp_path / "real")
    base.symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError):
        make_root(base / "emergency" / "here")


def test_the_second_place_is_of_the_same_destination_and_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first, second = outbox_roots(Connection("redis://cache:6379/0"), Settings(outbox_dir="/var/lib/aurea"))

    assert first.name == second.name
    assert tmp_path / f"aurea-celery-{os.geteuid()}" in second.parents
