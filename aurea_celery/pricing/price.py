"""What every source of prices answers with."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from aurea_celery.pricing.rates import Rates, encode_rates


class Price(NamedTuple):
    """Rates, the list that they are from, and a name that no other price has; ``unit_prices`` is their JSON."""

    rates: Rates
    source: str
    version: str
    unit_prices: str


class Unknown(NamedTuple):
    """Why a source that knows a model cannot say what a call of it costs; no later source is asked."""

    problem: str


def make_price(rates: Rates, source: str, name: str) -> Price:
    """A price whose version is its name and a digest of its rates: what was priced by it can be computed again."""
    unit_prices = encode_rates(rates)
    digest = hashlib.sha256(unit_prices.encode()).hexdigest()[:8]
    return Price(rates, source, f"{name} {digest}", unit_prices)
