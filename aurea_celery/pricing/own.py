"""The user's own prices: dated, by exact name, by alias, or by a pattern where that was said explicitly."""

from __future__ import annotations

import bisect
import functools
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


class OwnPrices:
    """Looks the user's prices up: a name before a pattern, a provider before none, the longest pattern first."""

    def __init__(self, prices: Iterable[OwnPrice] = ()) -> None:
        self._by_name: dict[tuple[str, str | None], list[OwnPrice]] = {}
        self._patterns: dict[tuple[str, str | None], list[OwnPrice]] = {}
        for one in sorted(prices, key=lambda price: price.effective_from):
            place = self._patterns if one.is_pattern else self._by_name
            place.setdefault((one.model.lower(), one.provider), []).append(one)
        self._rules = [
            (re.compile(".*".join(re.escape(part) for part in model.split("*"))), provider, dated)
            for (model, provider), dated in sorted(self._patterns.items(), key=lambda item: -len(item[0][0]))
        ]

    def find(self, model: str, provider: str | None, at: datetime) -> OwnPrice | None:
        """The line that holds for a model at a time; None if there is none."""
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


def _at(dated: list[OwnPrice] | None, at: datetime) -> OwnPrice | None:
    """Of one model's lines the last that had begun."""
    if dated is None:
        return None
    number = bisect.bisect_right(dated, at, key=lambda one: one.effective_from)
    return dated[number - 1] if number else None


@functools.lru_cache(maxsize=1024)
def own_price(line: OwnPrice) -> Price:
    """The price of a line, which has rates."""
    seller = f"{line.provider}/" if line.provider else ""
    return make_price(line.rates or Rates(), "own", f"own {seller}{line.model} {line.effective_from:%Y-%m-%d}")
