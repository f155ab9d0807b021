"""Published prices, written down by hand, and what a fixed set of usages costs by them.

``python -m tests.support.published`` writes what *we* say these usages cost into the table of ``docs/prices.md``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from aurea_celery.events import Cost, ModelCall, Usage
from aurea_celery.pricing import PriceBook

ROOT = Path(__file__).parents[2]
PRICES = ROOT / "tests" / "data" / "published_prices.toml"
PAGE = ROOT / "docs" / "prices.md"
BEGIN, END = "<!-- written by: python -m tests.support.published -->\n", "<!-- end -->\n"
BATCH_DAY = datetime(2026, 11, 1, tzinfo=UTC)
"""Days of batches: genai-prices knows what they cost from 2026-10-14 on."""

USAGES = {
    "plain": {"input": 10_000, "output": 1_000},
    "cached": {"input": 2_000, "cached": 8_000, "output": 1_000},
    "written 5 m": {"input": 2_000, "write_5m": 8_000, "output": 1_000},
    "written 1 h": {"input": 2_000, "cached": 1_000, "write_5m": 3_000, "write_1h": 4_000, "output": 1_000},
    "reasoning": {"input": 10_000, "output": 1_000, "reasoning": 4_000},
    "audio": {"input": 2_000, "audio_in": 8_000, "output": 1_000},
    "spoken": {"input": 2_000, "audio_in": 8_000, "output": 200, "audio_out": 800},
    "cached audio": {"cached": 5_000, "cached_audio": 2_000, "audio_in": 3_000, "output": 1_000},
    "long": {"input": 200_000, "cached": 100_000, "output": 1_000},
    "batch": {"input": 10_000, "output": 1_000},
}
"""Tokens by the price that they have; each token once. An embedding has no output."""

INPUT = ("input", "cached", "write_5m", "write_1h", "audio_in", "cached_audio")
OUTPUT = ("output", "reasoning", "audio_out")


class Case(NamedTuple):
    """One usage of one model: what was used of which kind, and the published prices, in USD per million tokens."""

    section: str
    row: str
    usage: str
    tokens: Mapping[str, int]
    prices: Mapping[str, Decimal]
    call: ModelCall
    at: datetime

    @property
    def published_usd(self) -> Fraction:
        """What it costs by the published prices."""
        return sum((Fraction(self.prices[kind]) * count for kind, count in self.tokens.items()), Fraction()) / 10**6


def read_sections() -> dict[str, dict[str, Any]]:
    """Everything that was written down, by provider."""
    return tomllib.loads(PRICES.read_text(), parse_float=Decimal)


def cases() -> list[Case]:
    """Every usage that a model has prices for."""
    return [
        case for name, said in read_sections().items() for one in said["models"] for case in _cases_of(name, said, one)
    ]


def _cases_of(section: str, said: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[Case]:
    day = model.get("day", said["day"])
    at = day if isinstance(day, datetime) else datetime.combine(day, time(12), UTC)
    row = f"`{model['model']}`" + (f", {_day(day)}" if "day" in model else "")
    for usage, counts in USAGES.items():
        prices = model.get(usage, {}) if usage in ("long", "batch") else model
        tokens = {kind: count for kind, count in counts.items() if kind != "output" or "output" in model}
        if tokens.keys() <= prices.keys():
            tier = "batch" if usage == "batch" else None
            call = ModelCall(
                usage=_as_usage(tokens), provider=said["provider"], model=model["model"], service_tier=tier
            )
            yield Case(section, row, usage, tokens, prices, call, BATCH_DAY if tier else at)


def _as_usage(tokens: Mapping[str, int]) -> Usage:
    def sum_of(*kinds: str) -> int | None:
        return sum(tokens.get(kind, 0) for kind in kinds) or None

    return Usage(
        input_tokens=sum_of(*INPUT),
        output_tokens=sum_of(*OUTPUT) or 0,
        cache_read_input_tokens=sum_of("cached", "cached_audio"),
        cache_write_input_tokens=sum_of("write_5m", "write_1h"),
        cache_write_1h_input_tokens=sum_of("write_1h"),
        input_audio_tokens=sum_of("audio_in", "cached_audio"),
        reasoning_output_tokens=sum_of("reasoning"),
        output_audio_tokens=sum_of("audio_out"),
    )


def table() -> str:
    """What we say that a thousand calls cost, in Markdown: one table per provider, with the usages that it knows."""
    book = PriceBook()
    costs: dict[str, dict[str, dict[str, Cost]]] = {}
    for case in cases():
        costs.setdefault(case.section, {}).setdefault(case.row, {})[case.usage] = book.cost(case.call, case.at)
    return "\n".join(_section(said, costs[name]) for name, said in read_sections().items())


def _section(said: Mapping[str, Any], rows: Mapping[str, Mapping[str, Cost]]) -> str:
    usages = [usage for usage in USAGES if any(usage in found for found in rows.values())]
    lines = [
        f"### {said['title']}\n",
        f"By [the provider's page]({said['page']}), on {_day(said['day'])} where the row names no other day.\n",
        f"| model | {' | '.join(usages)} | list price |",
        f"|---|{'---:|' * len(usages)}---|",
    ]
    for row, found in rows.items():
        cells = [_per_thousand(found[usage]) if usage in found else "" for usage in usages]
        lines.append(f"| {row} | {' | '.join(cells)} | `{_list_name(found['plain'])}` |")
    return "\n".join(lines) + "\n"


def _day(at: date) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else f"{at:%Y-%m-%d}"


def _per_thousand(cost: Cost) -> str:
    return f"{cost.usd * 1000:.10f}".rstrip("0").rstrip(".")


def _list_name(cost: Cost) -> str:
    """``openai/gpt-4o`` of ``genai-prices 0.2.3 openai/gpt-4o 8a361dc9``."""
    return (cost.version or "? ?").split()[-2]


def page_with(written: str) -> str:
    """The page with a table in the place of its own."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + "\n" + written + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page_with(table()))
