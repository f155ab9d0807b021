"""The host's copy of the states of budgets: a small file beside the outbox folders of all its processes.

A publisher asks the writer for it, with a batch that it sends anyway or with an empty one, and writes it down. Every
process of the host reads it, pool children too, which have no connection. One question for all of them is enough: who
asks touches a second file, and the others see that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aurea_celery._guard import log_once_a_minute
from aurea_celery.budget import ALL_JOBS, BudgetState, BudgetStates
from aurea_celery.clock import now_us

COPY, ASKED = ".budgets", ".budgets.asked"
"""Hidden: what does not begin with a dot is somebody's outbox folder."""

LOOK_SECONDS = 0.1
VALID_SECONDS = 300.0
"""A copy that nobody has renewed for so long counts no more: our fault must not keep tasks from running."""

NO_BUDGETS_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0
MOST_DOUBLINGS = 16
ANSWER_SECONDS = 1.0

_decoder = msgspec.json.Decoder(BudgetStates)


class BudgetCopy:
    """The host's copy, as a process that runs tasks reads it."""

    def __init__(self, root: Path) -> None:
        self._path = os.fspath(root / COPY)
        self._look_at = 0.0
        self._seen_ns = 0
        self._content = b""
        self._by_job: dict[str, list[BudgetState]] = {}

    def states_of(self, job_id: str) -> Sequence[BudgetState]:
        """The states that concern a job, at most a moment older than the copy. Nearly always empty, and then quick."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        if not self._by_job:
            return ()
        found = [*self._by_job.get(job_id, ()), *self._by_job.get(ALL_JOBS, ())]
        moment = now_us() if found else 0
        return [state for state in found if state.ends_at_us is None or moment < state.ends_at_us]

    def _look(self) -> None:
        """Read the copy if it was renewed, decode it if it has changed, and forget it when it is too old."""
        try:
            written_ns = os.stat(self._path).st_mtime_ns  # noqa: PTH116 - half the time of Path.stat
            if abs(time.time_ns() - written_ns) > VALID_SECONDS * 1e9:
                self._expire()
            elif written_ns != self._seen_ns:
                self._read()
                self._seen_ns = written_ns
        except OSError:
            self._forget()

    def _read(self) -> None:
        with open(self._path, "rb") as file:  # noqa: PTH123 - the same
            content = file.read()
        if content != self._content:
            self._content, self._by_job = content, _by_job(content)

    def _expire(self) -> None:
        if self._by_job:
            log_once_a_minute(
                "budgets_expired",
                logging.WARNING,
                "aurea-celery: no writer has told of budgets for %d seconds; until one does, none is enforced. "
                "Start one: celery -A yourapp aurea writer",
                VALID_SECONDS,
            )
        self._forget()

    def _forget(self) -> None:
        self._by_job, self._content, self._seen_ns = {}, b"", 0


class BudgetQuestions:
    """When to ask for the states of budgets, and where to put the answers. Used by a publisher's thread.

    While nobody answers each question waits twice as long as the one before, so that none pile up at the broker.
    """

    def __init__(self, root: Path, refresh_seconds: float) -> None:
        self._copy, self._asked = root / COPY, root / ASKED
        self._refresh_seconds = refresh_seconds
        self._asked_at = float("-inf")
        self._unanswered = 0
        self._has_budgets = False

    @property
    def is_waiting(self) -> bool:
        """Whether a question has no answer yet."""
        return self._unanswered > 0

    @property
    def expects_answer(self) -> bool:
        """Whether an answer that matters may come any moment."""
        return self.is_waiting and self._has_budgets and time.monotonic() - self._asked_at < ANSWER_SECONDS

    def may_ask(self) -> bool:
        """Whether a batch that is sent anyway should ask: always if there are budgets, since it may use one up."""
        return self._has_budgets or self._is_due

    def must_ask(self) -> bool:
        """Whether nobody on the host has asked for so long that it takes a message of its own."""
        return self._is_due and abs(time.time() - _mtime(self._asked)) >= self._pause_seconds

    def note_asked(self) -> None:
        """A question was sent."""
        self._asked_at = time.monotonic()
        self._unanswered = min(self._unanswered + 1, MOST_DOUBLINGS)
        with contextlib.suppress(OSError):  # then others ask too
            self._asked.touch(mode=0o600)

    def take(self, answers: list[BudgetStates]) -> None:
        """Renew the copy with the last of some answers."""
        if answers:
            self._unanswered, self._has_budgets = 0, answers[-1].has_budgets
            self._write(msgspec.json.encode(answers[-1]))

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._asked_at >= self._pause_seconds

    @property
    def _pause_seconds(self) -> float:
        pause = self._refresh_seconds if self._has_budgets else max(self._refresh_seconds, NO_BUDGETS_SECONDS)
        return min(pause * 2.0**self._unanswered, LONGEST_PAUSE_SECONDS)

    def _write(self, content: bytes) -> None:
        """Put the copy in place whole: nobody ever reads half of it."""
        new = self._copy.with_name(f"{COPY}.{os.getpid()}")
        try:
            new.write_bytes(content)
            new.replace(self._copy)
        except OSError as error:
            log_once_a_minute(
                "budgets_copy",
                logging.WARNING,
                "aurea-celery: cannot keep the states of budgets in %s (%s), so that none is enforced. "
                "Make the folder writable",
                self._copy.parent,
                error.strerror,
            )


def _by_job(content: bytes) -> dict[str, list[BudgetState]]:
    """The states of a copy, by their job; none if another release has written it."""
    found: dict[str, list[BudgetState]] = {}
    with contextlib.suppress(msgspec.DecodeError):
        for state in _decoder.decode(content).states:
            found.setdefault(state.job_id, []).append(state)
    return found


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("-inf")
