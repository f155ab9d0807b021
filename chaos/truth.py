"""The truth: what the tasks wrote down themselves, outside of the system under test.

Each execution appends lines to one file (``O_APPEND``, one ``write(2)`` a line, whole whatever is killed):

========  =========================================  ==================================================================
stage     further words                              when
========  =========================================  ==================================================================
prepared  task id, job, attempt, pid, parent's pid,  just before the execution is captured; names its own id, which
          monotonic seconds, whether its disk is     travels in a tag of its row
          full, or was a moment ago
begun                                                first line of the task's body: it is captured
calling   model, input tokens, output tokens         just before a call is recorded
called                                               just after
ended     how                                        last line of the task's body
========  =========================================  ==================================================================

So both bounds are known for every execution by itself: what is ``called`` must be in its row, what is not even
``calling`` must not be. At most the last call of an execution that was cut short is in doubt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos import disk
from chaos.schedule import Call


class Ledger:
    """Where a process writes its lines; opened once per process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def append(self, stage: str, execution_id: str, *words: object) -> None:
        """Write one line."""
        line = " ".join([stage, execution_id, *map(str, words)])
        with disk.unlimited():
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(self._descriptor, f"{line}\n".encode())


@dataclass
class Execution:
    """What one execution wrote down of itself; ``called`` is how many of its ``calls`` are recorded for certain."""

    execution_id: str
    task_id: str
    job_id: str
    attempt: int
    pid: int
    parent_pid: int
    prepared_at: float
    disk_is_full: bool
    begun: bool = False
    calls: list[Call] = field(default_factory=list)
    called: int = 0
    ended_as: str | None = None


class Truth:
    """The file of the truth as it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self.executions: dict[str, Execution] = {}
        self.begun_count = self.line_count = 0

    def read(self) -> None:
        """Take in what was written since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            self._take(*line.split(" "))

    def _take(self, stage: str, execution_id: str, *words: str) -> None:
        self.line_count += 1
        if stage == "prepared":
            self.executions[execution_id] = _prepared(execution_id, words)
            return
        execution = self.executions[execution_id]
        if stage == "begun":
            execution.begun = True
            self.begun_count += 1
        elif stage == "calling":
            execution.calls.append(Call(words[0], int(words[1]), int(words[2])))
        elif stage == "called":
            execution.called += 1
        else:
            execution.ended_as = words[0]


def _prepared(execution_id: str, words: Sequence[str]) -> Execution:
    task_id, job_id, attempt, pid, parent_pid, at, is_full = words
    numbers = (int(attempt), int(pid), int(parent_pid), float(at))
    return Execution(execution_id, task_id, job_id, *numbers, disk_is_full=is_full == "True")
