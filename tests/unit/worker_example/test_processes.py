"""A child says why it ended, and never outlives its stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.servers import wait_until
from worker_example import processes
from worker_example.errors import ExampleError
from worker_example.processes import Child

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
print("ready" if child else "", end="", flush=True)
time.sleep(600)
"""


def child(folder: Path, code: str) -> Child:
    return Child("helper", ["python", "-c", code], environ=os.environ, folder=folder)


def ended(one: Child) -> bool:
    try:
        one.check()
    except ExampleError:
        return True
    return False


def test_one_that_ends_early_is_quoted(tmp_path: Path) -> None:
    one = child(tmp_path, "for number in range(50): print('line', number)\nraise SystemExit(3)")
    wait_until(lambda: ended(one), "the child's end", seconds=20)
    with pytest.raises(ExampleError, match=r"the helper ended early, with status 3\. Its last lines were:") as caught:
        one.check()
    assert caught.value.status == 1
    assert str(caught.value).splitlines()[1:] == [f"  line {number}" for number in range(40, 50)]
    one.stop()


def test_one_that_says_nothing(tmp_path: Path) -> None:
    one = child(tmp_path, "")
    wait_until(lambda: ended(one), "the child's end", seconds=20)
    assert one.last_words() == "It said nothing."
    one.stop()


def test_one_that_does_not_stop_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    one = child(tmp_path, STUBBORN)
    wait_until(lambda: "ready" in (tmp_path / "helper.log").read_text(), "the child being ready", seconds=20)
    one.check()
    one.stop()
    assert ended(one)
    inode = (tmp_path / "helper.log").stat().st_ino  # everybody in the group has the log open
    wait_until(lambda: not _holders(inode), "the group's end", seconds=10)


def _holders(inode: int) -> list[str]:
    """The processes that have a file open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if entry.stat().st_ino == inode:
                found.append(entry.parts[2])
        except OSError:
            continue
    return found
