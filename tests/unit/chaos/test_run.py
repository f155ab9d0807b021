"""A run is over when every task has begun, and sends again only what the broker does not have any more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import chaos.run
from chaos.run import Run
from chaos.schedule import plan_tasks
from chaos.stack import Stack
from chaos.truth import Ledger, Truth


class InstantSender:
    """Takes the place of the user's client; what it is given is sent at once."""

    sent: list[list[str]]

    def __init__(self, _: str, tasks: Iterable[str]) -> None:
        self._tasks = list(tasks)

    def start(self) -> None:
        self.sent.append(self._tasks)

    def is_alive(self) -> bool:
        return False

    def stop(self) -> None:
        """Nothing to give up."""


class World:
    """A stack without processes: what the broker holds is set by hand, tasks begin when told to."""

    def __init__(self, folder: Path) -> None:
        self.left_at_the_broker = 0
        self._ledger, self._truth = Ledger(folder / "truth"), Truth(folder / "truth")
        broker = SimpleNamespace(url="", messages=lambda *_: self.left_at_the_broker)
        self.stack = cast(
            "Stack", SimpleNamespace(broker=broker, workers=[], slots=[], truth=self._truth, tend=self._tend)
        )

    def begin(self, task_id: str) -> None:
        """Let a worker begin a task."""
        self._ledger.append("prepared", f"of-{task_id}", task_id, "job", 0, 1, 1, 0.0, False)
        self._ledger.append("begun", f"of-{task_id}")

    def _tend(self) -> list[str]:
        self._truth.read()
        return []


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was sent, sender by sender."""
    InstantSender.sent = []
    monkeypatch.setattr(chaos.run, "Sender", InstantSender)
    for name in ("QUIET_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(chaos.run, name, -1.0)  # nobody waits for anything to settle
    return InstantSender.sent


def test_what_waits_at_the_broker_is_not_sent_again(tmp_path: Path, sent: list[list[str]]) -> None:
    world = World(tmp_path)
    run = Run(world.stack, [], plan_tasks(1, 3, 0.01), lambda _: None)

    world.left_at_the_broker = 3
    assert [run._tick() for _ in range(3)] == [True, True, True]
    assert sent == []

    world.begin("task-0")
    world.left_at_the_broker = 0  # it has forgotten the others
    assert run._tick()
    assert sent == [["task-1", "task-2"]]


def test_a_run_is_over_when_every_task_has_begun(tmp_path: Path, sent: list[list[str]]) -> None:
    world = World(tmp_path)
    run = Run(world.stack, [], plan_tasks(1, 2, 0.01), lambda _: None)
    for task_id in ("task-0", "task-1"):
        assert run._tick()
        world.begin(task_id)

    assert not run._tick()
    assert sent == [["task-0", "task-1"], ["task-1"]]
