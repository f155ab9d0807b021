"""The ledger: what really happened, kept outside of the system under test.

Each execution of a task appends one line to a file before it returns: when it ended, its task id, and the tokens that
the model said it used. The demo compares this file with what aurea-celery's API answers.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LEDGER_VARIABLE = "WORKER_EXAMPLE_LEDGER"


class Entry(NamedTuple):
    """One execution of a task."""

    ended_at_ns: int
    task_id: str
    input_tokens: int
    output_tokens: int


class Spent:
    """The tokens of the execution that runs now."""

    input_tokens = 0
    output_tokens = 0


@contextlib.contextmanager
def execution(task_id: str) -> Iterator[Spent]:
    """Append the line of one execution when it ends, however that is."""
    spent = Spent()
    try:
        yield spent
    finally:
        path = os.environ.get(LEDGER_VARIABLE)
        if path:
            append(Path(path), Entry(time.time_ns(), task_id, spent.input_tokens, spent.output_tokens))


def append(path: Path, entry: Entry) -> None:
    """Add a line in one write, so that the lines of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{' '.join(map(str, entry))}\n".encode())
    finally:
        os.close(descriptor)


class Ledger:
    """Reads the file while it grows."""

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._path = path
        self._offset = 0

    def read(self) -> int:
        """Take in what is new; how many executions there are now."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # half of one that is being written
                    break
                ended, task_id, input_tokens, output_tokens = line.decode().split()
                self.entries.append(Entry(int(ended), task_id, int(input_tokens), int(output_tokens)))
                self._offset += len(line)
        return len(self.entries)

    @property
    def input_tokens(self) -> int:
        """All input tokens."""
        return sum(entry.input_tokens for entry in self.entries)

    @property
    def output_tokens(self) -> int:
        """All output tokens."""
        return sum(entry.output_tokens for entry in self.entries)

    @property
    def last_end_ns(self) -> int:
        """When the last execution ended, in nanoseconds since the epoch; 0 before the first."""
        return max((entry.ended_at_ns for entry in self.entries), default=0)

    def executions(self) -> Counter[tuple[str, int, int]]:
        """How often each ``(task id, input tokens, output tokens)`` happened."""
        return Counter(entry[1:] for entry in self.entries)
