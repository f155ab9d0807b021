"""Outcomes of Celery's own tests without and with the plugin, and what differs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of a test."""

    word: str
    reason: str = ""


# Of several reports about one test (its phases, its subtests) the first of these counts.
_RANKS = ("failed", "skipped", "xfailed", "passed")
Outcomes = dict[str, Outcome]


def read_outcomes(path: Path) -> Outcomes:
    """Each test's outcome, from the lines that the recorder wrote; a test that was rerun counts as it ended."""
    found: Outcomes = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        report = json.loads(line)
        test, outcome = report["test"], Outcome(report["outcome"], report["reason"])
        if outcome.word == "rerun":
            found.pop(test, None)
        elif test not in found or _RANKS.index(outcome.word) < _RANKS.index(found[test].word):
            found[test] = outcome
    return found


def count(outcomes: Outcomes) -> str:
    """How many of each kind, in words."""
    counts = Counter(outcome.word for outcome in outcomes.values())
    return ", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped", "xfailed") if counts[word])


@dataclass(frozen=True)
class Comparison:
    """The same tests, without and with the plugin; and those that differed, once more."""

    without: Outcomes
    with_plugin: Outcomes
    without_again: Outcomes
    with_plugin_again: Outcomes

    @property
    def broken(self) -> list[str]:
        """Tests that pass without and not with the plugin, both times."""
        again = differing(self.without_again, self.with_plugin_again)
        return [
            test
            for test in differing(self.without, self.with_plugin)
            if passes(self.without, test) and test in again and passes(self.without_again, test)
        ]

    @property
    def holds(self) -> bool:
        """Whether tests ran, and all that pass without the plugin pass with it."""
        return any(passes(self.without, test) for test in self.without) and not self.broken

    @property
    def unsteady(self) -> list[str]:
        """Tests that differed the first time, in either direction, and are not broken."""
        return [test for test in differing(self.without, self.with_plugin) if test not in self.broken]

    def as_text(self) -> str:
        """A summary to read."""
        lines = [f"without the plugin  {count(self.without)}", f"with the plugin     {count(self.with_plugin)}"]
        failing = self._in_both("failed")
        lines += [f"failed in both ({len(failing)}):"] if failing else []
        lines += [f"  {test}: {self.without[test].reason}" for test in failing]
        skipped = Counter(self.without[test].reason for test in self._in_both("skipped"))
        lines += [f"skipped in both ({skipped.total()}):"] if skipped else []
        lines += [f"  {number} x {reason}" for reason, number in skipped.most_common()]
        lines += [f"differed once, not when run again: {self._story(test)}" for test in self.unsteady]
        lines += [f"BROKEN by the plugin: {self._story(test)}" for test in self.broken]
        return "\n".join(lines)

    def _in_both(self, kind: str) -> list[str]:
        return [test for test in self.without if word(self.without, test) == kind == word(self.with_plugin, test)]

    def _story(self, test: str) -> str:
        first = f"{word(self.without, test)} without, {word(self.with_plugin, test)} with"
        again = f"then {word(self.without_again, test)} without, {word(self.with_plugin_again, test)} with"
        reason = self.with_plugin.get(test, Outcome("")).reason or self.without.get(test, Outcome("")).reason
        return f"{test} ({first}; {again}) {reason}"


def word(outcomes: Outcomes, test: str) -> str:
    """A test's outcome, or that it has none."""
    return outcomes[test].word if test in outcomes else "not run"


def passes(outcomes: Outcomes, test: str) -> bool:
    """Whether a test passed."""
    return word(outcomes, test) == "passed"


def differing(one: Outcomes, other: Outcomes) -> list[str]:
    """The tests whose outcome is not the same."""
    return [test for test in {**one, **other} if word(one, test) != word(other, test)]
