"""Timings in pairs that take turns, so that a noisy machine disturbs both alike; figures with their spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some figures, the least and the greatest."""

    middle: float
    least: float
    greatest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """The spread of figures.

        >>> Spread.of([3, 1, 2])
        Spread(middle=2, least=1, greatest=3)
        """
        return cls(median(figures), min(figures), max(figures))

    def text(self, form: str) -> str:
        """``middle (least to greatest)``, each in a format.

        >>> Spread(2, 1, 3).text(".1f")
        '2.0 (1.0 to 3.0)'
        """
        return f"{self.middle:{form}} ({self.least:{form}} to {self.greatest:{form}})"


class Pair(NamedTuple):
    """Figures of ours and of a reference, round by round."""

    ours: list[float]
    reference: list[float]

    def map(self, change: Callable[[float], float]) -> tuple[Spread, Spread]:
        """Both spreads, every figure changed."""
        return Spread.of([change(figure) for figure in self.ours]), Spread.of([change(one) for one in self.reference])

    def ratio(self) -> Spread:
        """Ours divided by the reference, round by round."""
        return Spread.of([ours / reference for ours, reference in zip(self.ours, self.reference, strict=True)])

    def inverse_ratio(self) -> Spread:
        """The reference divided by ours, round by round: the ratio of speeds when the figures are times."""
        return Pair(self.reference, self.ours).ratio()


def interleaved(ours: Callable[[], float], reference: Callable[[], float], *, rounds: int) -> Pair:
    """Call both ``rounds`` times, taking turns and changing who begins; the first round warms up and does not count."""
    pair = Pair([], [])
    for number in range(rounds + 1):
        figures = [ours(), reference()] if number % 2 else [reference(), ours()][::-1]
        if number:
            pair.ours.append(figures[0])
            pair.reference.append(figures[1])
    return pair
