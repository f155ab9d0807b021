"""What there is to do: jobs, made from a seed or from a trace, and their publication.

Everything is decided here, retries and failures too, so that the number of executions is known before the first one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from worker_example import shape
from worker_example.trace import Row

JOB_KINDS = ("contract-review", "nightly-digest", "search-index", "support-inbox")
JOBS_PER_KIND = 3
OVERLOADED_SHARE, REFUSED_SHARE = 0.08, 0.04
TEXT = "On 3 March 2026 Ada Lovelace of Example Ltd ordered two analytical engines for 1,200 EUR; one arrived broken."

Shape = Literal["single", "chain", "group", "chord"]


@dataclass(frozen=True)
class Ask:
    """One call of a task: what the model is to use, and what goes wrong."""

    task: str
    input_tokens: int
    output_tokens: int
    overloads: int = 0
    refused: bool = False

    @property
    def executions(self) -> int:
        """How often the task runs for it: once, and once per attempt that finds the model overloaded."""
        return 1 + self.overloads


class Piece(NamedTuple):
    """Tasks that belong together: one by one in a chain, side by side in a group, and with a last one in a chord."""

    shape: Shape
    asks: tuple[Ask, ...]


class Job(NamedTuple):
    """What is published inside one ``with job(name)`` block."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def asks(self) -> list[Ask]:
        """All of its asks."""
        return [ask for piece in self.pieces for ask in piece.asks]


def plan(tasks: int, seed: int) -> list[Job]:
    """Jobs with exactly so many tasks; the same for the same seed."""
    source = random.Random(seed)
    names = [f"{kind}-{number}" for number in range(1, JOBS_PER_KIND + 1) for kind in JOB_KINDS]
    pieces: dict[str, list[Piece]] = {name: [] for name in names}
    left = tasks
    while left > 0:
        name = source.choice(names)
        piece = _PIECES[name.rpartition("-")[0]](source)
        if len(piece.asks) > left:
            piece = Piece("single", (_ask(source, "classify"),))
        pieces[name].append(piece)
        left -= len(piece.asks)
    return [Job(name, tuple(found)) for name, found in pieces.items() if found]


def plan_trace(rows: list[Row]) -> list[Job]:
    """One task per row, one job per minute of the trace. Nothing is retried: every row is one model call."""
    pieces: defaultdict[str, list[Piece]] = defaultdict(list)
    for row in rows:
        ask = Ask("replay", row.input_tokens, row.output_tokens)
        pieces[f"{row.at:%Y-%m-%d %H:%M}"].append(Piece("single", (ask,)))
    return [Job(minute, tuple(found)) for minute, found in pieces.items()]


def publish(jobs: list[Job], prefix: str, published: Callable[[], None]) -> None:
    """Send everything to the broker; ``published`` is called after each piece, and may raise to end it."""
    from aurea_celery import job  # noqa: PLC0415 - with the app, whose broker is known only when the demo runs

    for one in jobs:
        with job(f"{prefix}{one.name}"):
            for piece in one.pieces:
                _canvas(piece).apply_async()
                published()


def _canvas(piece: Piece) -> Any:
    from celery import chain, chord, group  # noqa: PLC0415 - as above

    first, *rest = piece.asks
    if piece.shape == "chain":
        return chain(_signature(first, TEXT), *(_signature(ask) for ask in rest))
    if piece.shape == "group":
        return group(_signature(ask, TEXT) for ask in piece.asks)
    if piece.shape == "chord":
        return chord((_signature(ask, TEXT) for ask in piece.asks[:-1]), _signature(piece.asks[-1]))
    return _signature(first, TEXT)


def _signature(ask: Ask, *text: str) -> Any:
    """A task with its ask; without a text, what came before in the canvas is its text."""
    from worker_example import tasks  # noqa: PLC0415 - as above

    return getattr(tasks, ask.task).s(*text, ask=asdict(ask))


def _ask(source: random.Random, task: str, *, may_refuse: bool = False) -> Ask:
    """An ask with tokens of the published shape; now and then overloaded, or refused where nothing follows."""
    return Ask(
        task,
        shape.draw_tokens(shape.INPUT_TOKENS, source),
        0 if task == "embed" else shape.draw_tokens(shape.OUTPUT_TOKENS, source),
        overloads=source.choice((1, 1, 2)) if source.random() < OVERLOADED_SHARE else 0,
        refused=may_refuse and source.random() < REFUSED_SHARE,
    )


def _asks(source: random.Random, *tasks: str, may_refuse: bool = False) -> tuple[Ask, ...]:
    return tuple(_ask(source, task, may_refuse=may_refuse) for task in tasks)


_PIECES: dict[str, Callable[[random.Random], Piece]] = {
    "contract-review": lambda source: Piece("chain", _asks(source, "extract", "summarise", "embed")),
    "nightly-digest": lambda source: Piece("chord", _asks(source, *["summarise"] * source.randint(4, 7))),
    "search-index": lambda source: Piece("single", _asks(source, "embed")),
    "support-inbox": lambda source: Piece(
        "group", _asks(source, *["classify"] * source.randint(3, 6), may_refuse=True)
    ),
}
