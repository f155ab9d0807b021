"""The user's own prices: dated, by exact name, by alias, or by a pattern where that was said explicitly."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from aurea_celery.pricing.price import Price, make_price
from aurea_celery.pricing.rates import Rates


class OwnPrice(NamedTuple):
    """One line of the table ``model_prices``.

    ``provider`` is None for every provider. Exactly one of ``rates`` and ``same_as`` is there: ``same_as`` is the
    model whose price this one has (a deployment's, say). Only with ``is_pattern`` does ``*`` in ``model`` stand for
    anything.
    """

    model: str
    provider: str | None
    effective_from: datetime
    rates: Rates | None = None
    same_as: str | None = None
    is_pattern: bool = False


class Line(NamedTuple):
    """What holds from a time on: a price, or that of the model it is the same as."""

    effective_from: datetime
    price: Price | None
    same_as: str


class OwnPrices:
    """Looks the user's prices up: a name before a pattern, a provider before none, the longest pattern first."""

    def __init__(self, prices: Iterable[OwnPrice] = ()) -> None:
        self._by_name: dict[tuple[str, str | None], list[Line]] = {}
        self._patterns: dict[tuple[str, str | None], list[Line]] = {}
        for one in sorted(prices, key=lambda price: price.effective_from):
            place = self._patterns if one.is_pattern else self._by_name
            place.setdefault((one.model.lower(), one.provider), []).append(_line(one))
        self._rules = [
            (re.compile(".*".join(re.escape(part) for part in model.split("*"))), provider, dated)
            for (model, provider), dated in sorted(self._patterns.items(), key=lambda item: -len(item[0][0]))
        ]

    def find(self, model: str, provider: str | None, at: datetime) -> Line | None:
        """The line that holds for a model at a time; None if there is none."""
        if not self._by_name and not self._rules:
            return None
        name = model.lower()
        for asked in (provider, None) if provider is not None else (None,):
            found = _at(self._by_name.get((name, asked)), at)
            if found is not None:
                return found
        for rule, asked, dated in self._rules:
            if asked in (None, provider) and rule.fullmatch(name):
                found = _at(dated, at)
                if found is not None:
                    return found
        return None


def _at(dated: list[Line] | None, at: datetime) -> Line | None:
    """Of one model's lines the last that had begun."""
    if dated is None:
        return None
    number = bisect.bisect_right(dated, at, key=lambda one: one.effective_from)
    return dated[number - 1] if number else None


def _line(one: OwnPrice) -> Line:
    if one.rates is None:
        return Line(one.effective_from, None, one.same_as or "")
    seller = f"{one.provider}/" if one.provider else ""
    name = f"own {seller}{one.model} {one.effective_from:%Y-%m-%d}"
    return Line(one.effective_from, make_price(one.rates, "own", name), "")
