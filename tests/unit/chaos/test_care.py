"""Where a broker loses what it sends, senders stand still until nothing is on its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.care import LOOKS, nothing_on_its_way
from tests.support.servers import wait_until


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def senders() -> Iterator[list[int]]:
    """Two processes, the second of which is frozen already."""
    processes = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
    os.kill(processes[1].pid, signal.SIGSTOP)
    wait_until(lambda: state_of(processes[1].pid) == "T", "the second one being frozen")
    yield [one.pid for one in processes]
    for one in processes:
        one.kill()
        one.wait()


def stack_of(senders: list[int], counts: list[int], *, loses: bool) -> Any:
    """As much of a stack as is looked at; the broker says the counts one after another, and the last one for ever."""

    def messages(*_: str) -> int:
        return counts.pop(0) if len(counts) > 1 else counts[0]

    broker = SimpleNamespace(loses_what_it_sends=loses, messages=messages)
    return SimpleNamespace(broker=broker, workers=[SimpleNamespace(family=lambda: senders)])


def test_senders_stand_still_until_the_queue_does(senders: list[int]) -> None:
    counts = [3, 2, 2, 1, 0]
    with nothing_on_its_way(stack_of(senders, counts, loses=True)):
        assert counts == [0]
        assert [state_of(pid) for pid in senders] == ["T", "T"]
    wait_until(lambda: state_of(senders[0]) != "T", "the first one going on")
    assert state_of(senders[1]) == "T", "who was frozen before stays so"


def test_with_a_broker_that_keeps_what_it_sends_nobody_waits(senders: list[int]) -> None:
    counts = [1] * LOOKS
    with nothing_on_its_way(stack_of(senders, counts, loses=False)):
        assert state_of(senders[0]) != "T"
    assert len(counts) == LOOKS


def test_a_broker_that_is_away_sends_nothing(senders: list[int]) -> None:
    stack = stack_of(senders, [0], loses=True)

    def refuse(*_: str) -> int:
        raise ConnectionError

    stack.broker.messages = refuse
    with nothing_on_its_way(stack):
        assert state_of(senders[0]) == "T"
