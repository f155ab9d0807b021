"""A place in the stack knows who ended by itself, and what was killed because it did not end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import chaos.stack
from chaos.stack import Slot, end_all
from tests.support.processes import Process
from tests.support.servers import wait_until

SLEEPS = "print('is ready.', flush=True); import time; time.sleep(600)"
IS_DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"

MakeSlot = Callable[[str], Slot]


@pytest.fixture
def touched() -> set[int]:
    """The pids that something happened to."""
    return set()


@pytest.fixture
def make_slot(tmp_path: Path, touched: set[int]) -> Iterator[MakeSlot]:
    """Makes places whose processes run a line of Python."""
    made: list[Slot] = []

    def make(line: str) -> Slot:
        def start(name: str) -> Process:
            process = Process(name, [sys.executable, "-c", line], folder=tmp_path, environ={})
            return process.wait_for("is ready.")

        made.append(Slot(f"worker-{len(made) + 1}", start, touched))
        return made[-1]

    yield make
    for slot in made:
        slot.process.kill()


def tend_after_its_end(slot: Slot) -> str | None:
    wait_until(lambda: slot.process.status is not None, "the end")
    return slot.tend()


def test_a_process_that_ended_by_itself_is_said_counted_and_followed(make_slot: MakeSlot, touched: set[int]) -> None:
    slot = make_slot("print('is ready.', flush=True); raise SystemExit(3)")
    first = slot.process.pid

    assert tend_after_its_end(slot) == "worker-1-1 has ended by itself with status 3"
    assert (slot.ended_by_itself, slot.started_again) == (1, 1)
    assert touched == {first}


def test_a_process_that_was_killed_has_not_ended_by_itself(make_slot: MakeSlot, touched: set[int]) -> None:
    slot = make_slot(SLEEPS)
    first = slot.process.pid

    slot.kill()

    assert tend_after_its_end(slot) is None
    assert (slot.ended_by_itself, slot.started_again) == (0, 1)
    assert touched == {first}
    assert slot.tend() is None


def test_only_what_does_not_end_when_told_to_is_killed(
    make_slot: MakeSlot, touched: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos.stack, "END_SECONDS", 1.0)
    monkeypatch.setattr(chaos.stack, "ASK_AGAIN_SECONDS", 0.5)
    good, deaf = make_slot(SLEEPS), make_slot(IS_DEAF)

    assert end_all([good, deaf]) == ["worker-2-1 did not end when it was told to, and was killed"]
    assert (good.process.status, deaf.process.status) == (-signal.SIGTERM, -signal.SIGKILL)
    assert touched == {deaf.process.pid}
