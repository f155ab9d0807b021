"""Folders of an outbox: where those of one broker lie, and what happens when two processes remove the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kombu import Connection

from aurea_celery.delivery.folder import Folder
from aurea_celery.delivery.folders import outbox_roots
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.queue_look import address_of
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox, publish
from tests.support.senders import MemorySender
from tests.support.servers import wait_until


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:secret@cache:6379/0", "redis://cache:6379/0"),
        ("redis://user:secret@cache:6379/1", "redis://user:**@cache:6379/1"),
        ("sentinel://a:1/0;sentinel://b:2/0", "sentinel://a:1/0"),
        ("amqp://user:secret@rabbit//", "amqp://user:**@rabbit:5672//"),
    ],
)
def test_a_broker_is_known_by_one_address_in_every_release_of_kombu(url: str, shown: str) -> None:
    assert address_of(Connection(url)) == shown


def test_the_outbox_of_a_broker_stays_where_it_is() -> None:
    """A folder that is called otherwise after an upgrade would leave what is in it behind."""
    settings = Settings(outbox_dir="/var/lib/aurea")

    root = outbox_roots(Connection("redis://cache:6379/0"), settings)[0]

    assert root.as_posix() == "/var/lib/aurea/08e5bac85af9"


def take_over(folder: Folder) -> None:
    assert folder.adopt()


def take_over_and_remove(folder: Folder) -> None:
    take_over(folder)
    folder.remove()


OTHERS = [take_over, take_over_and_remove]


def before_it_is_gone(monkeypatch: pytest.MonkeyPatch, what: Callable[[Folder], None]) -> list[Folder]:
    """Let another process do something once a folder's lock is removed, and before the folder itself is."""
    others: list[Folder] = []
    rmdir = Path.rmdir

    def do_and_remove(path: Path) -> None:
        if not others:
            others.append(Folder(path))
            what(others[0])
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", do_and_remove)
    return others


@pytest.mark.parametrize("what", OTHERS)
def test_a_process_that_ends_while_another_takes_its_folder_over_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: Callable[[Folder], None]
) -> None:
    outbox, sender = make_outbox(tmp_path), MemorySender()
    publisher = Publisher(outbox, sender, Settings(flush_interval_seconds=0.01))
    outbox.finish(make_event())
    publisher.ensure_running()
    wait_until(lambda: sender.events, "the event being sent")
    others = before_it_is_gone(monkeypatch, what)

    publisher.stop(10)

    assert [other.adopted for other in others] == [what is take_over]
    assert caplog.text == ""
    publish_and_release(others, tmp_path)


@pytest.mark.parametrize("what", OTHERS)
def test_two_that_remove_the_folder_of_a_dead_process_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: Callable[[Folder], None]
) -> None:
    dead = make_outbox(tmp_path)
    dead.finish(make_event())
    dead.close()
    others = before_it_is_gone(monkeypatch, what)

    publish(tmp_path, MemorySender())

    assert [other.adopted for other in others] == [what is take_over]
    assert caplog.text == ""
    publish_and_release(others, tmp_path)


def publish_and_release(others: list[Folder], root: Path) -> None:
    """Whoever comes next removes what another process has taken over and let go of."""
    for other in others:
        other.release()
    publish(root, MemorySender())
    assert list(root.iterdir()) == []


def test_a_folder_with_a_file_of_somebody_else_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dead = make_outbox(tmp_path)
    dead.finish(make_event())
    dead.close()
    (dead.path / "notes.txt").touch()

    publish(tmp_path, MemorySender())

    assert "cannot handle the outbox folder" in caplog.text
    assert (dead.path / "notes.txt").exists()
