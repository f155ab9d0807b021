"""What happens in a run, decided before it begins: a pure function of the seed.

The tasks with what they spend, and the faults with when they come. "When" is a share of the tasks having begun, not a
time, so that a slow machine meets the same faults at the same places as a fast one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

FIRST_SHARE, LAST_SHARE = 0.02, 0.95
MOST_TOKENS = 5_000
JOBS = 50
MODELS = ("gpt-4", "gpt-4-turbo", "house-model")
ENDINGS = ("success", "failure", "retry")

Ending = Literal["success", "failure", "retry"]

SECONDS_OF_KIND: dict[str, tuple[float, float]] = {
    # kind                          how long it lasts; 0 where it happens in an instant
    "child_killed":                 (0, 0),
    "child_terminated":             (0, 0),
    "child_frozen":                 (5, 7),
    "worker_killed":                (0, 0),
    "worker_terminated":            (0, 0),
    "worker_quit":                  (0, 0),
    "worker_frozen":                (5, 7),
    "writer_killed":                (0, 0),
    "writer_child_killed":          (0, 0),
    "writer_terminated":            (0, 0),
    "writer_quit":                  (0, 0),
    "writer_frozen":                (4, 6),
    "writers_killed_before_commit": (0, 0),
    "writers_killed_after_commit":  (0, 0),
    "broker_restarted":             (0.2, 2),
    "broker_killed":                (0.2, 2),
    "database_disk_full":           (1, 3),
    "database_restarted":           (0.2, 3),
    "database_crashed":             (0.2, 3),
    "database_read_only":           (1, 3),
    "database_careless":            (1, 3),
    "connections_reset":            (0, 0),
    "connections_half_closed":      (0, 0),
    "connections_delayed":          (1, 3),
    "connections_held":             (1, 3),
    "disk_full":                    (1, 4),
    "outbox_removed":               (0, 0),
    "clock_back":                   (2, 5),
    "clock_forward":                (2, 5),
    "writers_days_ahead":           (2, 4),
    "writers_days_behind":          (2, 4),
    "message_duplicated":           (0, 0),
    "message_truncated":            (0, 0),
    "message_of_older_version":     (0, 0),
    "message_of_newer_version":     (0, 0),
    "broker_forgot":                (0.2, 1),
    "writer_killed_frozen":         (1, 3),
    "backlog_forgotten":            (0, 0),
}  # fmt: skip
"""Every fault there is. Those that freeze a process last longer than the visibility timeouts of the stack."""


class Call(NamedTuple):
    """One call to a model, as a task makes it."""

    model: str
    input_tokens: int
    output_tokens: int


class Assignment(NamedTuple):
    """One task to be sent: its job, what it spends, how long it takes and how it ends.

    ``late``: its message is acknowledged after it has run, so that it runs again when its process is killed.
    """

    job_id: str
    late: bool
    calls: tuple[Call, ...]
    pause_seconds: float
    ending: Ending

    def arguments(self) -> tuple[Any, ...]:
        """What its message carries."""
        return self.job_id, self.calls, self.pause_seconds, self.ending


class Step(NamedTuple):
    """One fault: after which share of the tasks it comes, how long it lasts, whom it meets (a number to choose by)."""

    number: int
    share: float
    kind: str
    seconds: float
    choice: int


def plan_faults(seed: int, count: int, kinds: Collection[str] = tuple(SECONDS_OF_KIND)) -> list[Step]:
    """The faults of a run, in their order; every kind comes before any comes again."""
    chooser = random.Random(f"faults {seed}")
    shares = sorted(chooser.uniform(FIRST_SHARE, LAST_SHARE) for _ in range(count))
    return [
        Step(number, share, kind, chooser.uniform(*SECONDS_OF_KIND[kind]), chooser.randrange(1_000))
        for number, (share, kind) in enumerate(zip(shares, _shuffled_for_ever(chooser, kinds), strict=False), start=1)
    ]


def plan_tasks(seed: int, count: int, pause_seconds: float) -> list[Assignment]:
    """The tasks of a run, in the order of sending; ``pause_seconds`` is how long a call takes on average."""
    chooser = random.Random(f"tasks {seed}")
    return [_assignment(chooser, pause_seconds) for _ in range(count)]


def _assignment(chooser: random.Random, pause_seconds: float) -> Assignment:
    calls = tuple(
        Call(chooser.choice(MODELS), chooser.randrange(MOST_TOKENS), chooser.randrange(1, MOST_TOKENS))
        for _ in range(chooser.choice((0, 1, 1, 1, 2, 4)))
    )
    ending = chooser.choices(ENDINGS, weights=(90, 5, 5))[0]
    pause = min(chooser.expovariate(1 / pause_seconds), 20 * pause_seconds)
    job_id = f"jöb-{chooser.randrange(JOBS)}"
    return Assignment(job_id, chooser.random() < 0.5, calls, round(pause, 4), ending)  # type: ignore[arg-type]


def _shuffled_for_ever(chooser: random.Random, kinds: Collection[str]) -> Iterator[str]:
    while True:
        yield from chooser.sample(sorted(kinds), len(kinds))
