"""A signal is remembered and taken at a safe point only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from worker_example.interrupts import SIGNALS, Interrupted, Interrupts, shielded_children


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield Interrupts()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_a_safe_point(interrupts: Interrupts, number: signal.Signals) -> None:
    interrupts.check()
    os.kill(os.getpid(), number)
    with pytest.raises(Interrupted) as caught:
        interrupts.check()
    assert caught.value.status == 128 + number


def test_the_first_signal_counts(interrupts: Interrupts) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    with pytest.raises(Interrupted, match="SIGTERM"):
        interrupts.pause(60)


def test_children_are_shielded_from_the_terminal_only_inside(interrupts: Interrupts) -> None:
    with shielded_children():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
        signal.raise_signal(signal.SIGINT)  # to this thread: a test's process may have others
        interrupts.check()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with pytest.raises(Interrupted):
        interrupts.check()
