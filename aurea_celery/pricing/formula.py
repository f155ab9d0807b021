"""The one formula that makes a usage into money: whole numbers of a small unit, so that it is exact and quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aurea_celery.events import Usage

WHOLE_OF = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "cache_audio_read": "cache_read",
    "output_audio": "output",
    "reasoning_output": "output",
}
"""The tokens that each kind of tokens is counted in too."""

NEEDED_BY = {"cache_write": "cache_write_1h", "cache_read": "cache_audio_read", "input_audio": "cache_audio_read"}
"""Kinds of input that cost what input does where only the kind within them has a rate."""


class Formula(NamedTuple):
    """What calls with more than ``above_input_tokens`` cost, in units of the caller's.

    ``input`` and ``output`` are per token, ``request`` is per call. The others are what a token of that kind costs
    more than the tokens that it is counted in (:data:`WHOLE_OF`), mostly less than 0; None: it has no rate of its own.
    """

    above_input_tokens: int
    input: int = 0
    output: int = 0
    request: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    cache_audio_read: int | None = None
    output_audio: int | None = None
    reasoning_output: int | None = None

    def units(self, usage: Usage) -> int:
        """What a call with this usage costs."""
        whole = self.input * (usage.input_tokens or 0) + self.output * (usage.output_tokens or 0)
        return self.request + whole + self._more_for_input(usage) + self._more_for_output(usage)

    def _more_for_input(self, usage: Usage) -> int:
        read = written = more = 0
        if usage.cache_read_input_tokens and self.cache_read is not None:
            read = usage.cache_read_input_tokens
            more = read * self.cache_read
        if usage.cache_write_input_tokens and self.cache_write is not None:
            written = usage.cache_write_input_tokens
            more += written * self.cache_write + (usage.cache_write_1h_input_tokens or 0) * (self.cache_write_1h or 0)
        if usage.input_audio_tokens and self.input_audio is not None:
            audio = usage.input_audio_tokens
            # No provider says how much of the audio was cached: as little as the counts allow.
            cached = max(0, read + written + audio - (usage.input_tokens or 0))
            more += (audio - cached) * self.input_audio + min(cached, read) * (self.cache_audio_read or 0)
        return more

    def _more_for_output(self, usage: Usage) -> int:
        spoken = more = 0
        if usage.output_audio_tokens and self.output_audio is not None:
            spoken = usage.output_audio_tokens
            more = spoken * self.output_audio
        if usage.reasoning_output_tokens and self.reasoning_output is not None:
            thought = min(usage.reasoning_output_tokens, (usage.output_tokens or 0) - spoken)
            more += thought * self.reasoning_output
        return more


def make_formula(above_input_tokens: int, units: Mapping[str, int]) -> Formula:
    """A formula from what tokens of each kind cost.

    >>> make_formula(-1, {"input": 4, "output": 9, "cache_read": 1}).cache_read
    -3
    """
    units = {name: units.get("input", 0) for name, part in NEEDED_BY.items() if part in units} | dict(units)
    parts = {
        name: cost - units.get(WHOLE_OF[name], 0) if name in WHOLE_OF else cost
        for name, cost in units.items()
        if name in Formula._fields
    }
    return Formula(above_input_tokens, **parts)
