"""The price book: the sources of prices in their order, the first of which answers.

1. the call's own cost: the user's cost function, or the provider's own figure;
2. the user's prices: dated, with aliases;
3. the list prices of genai-prices at the time of the call, with its service tier;
4. the document's table of blended prices;
5. nobody: the call is unpriced, which is not free.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from aurea_celery.events import Cost, ModelCall
from aurea_celery.pricing.catalogue import Catalogue
from aurea_celery.pricing.document import document_price
from aurea_celery.pricing.own import Line, OwnPrice, OwnPrices
from aurea_celery.pricing.price import Price, Unknown

MOST_ALIASES = 8
Names = tuple[str, ...]


class Answer(NamedTuple):
    """The price of a call and its cost in USD, or why there is none."""

    price: Price | None
    usd: Decimal = Decimal(0)
    problem: str | None = None


class PriceBook:
    """What a model call costs. Not thread-safe: one per writer.

    Args:
        own: The user's prices.
        catalogue: Another edition of the list prices than the installed package's.

    >>> from datetime import UTC
    >>> from decimal import Decimal
    >>> from aurea_celery.events import Usage
    >>> book = PriceBook()
    >>> call = ModelCall(usage=Usage(total_tokens=500), model="gpt-4")
    >>> book.cost(call, datetime(2026, 1, 1, tzinfo=UTC)).usd == Decimal("0.015")
    True
    """

    def __init__(self, own: Iterable[OwnPrice] = (), catalogue: Catalogue | None = None) -> None:
        self._own = OwnPrices(own)
        self.catalogue = catalogue or Catalogue()
        self.used: dict[str, Price] = {}
        """The prices that costs were computed with, by their version."""

    def cost(self, call: ModelCall, at: datetime) -> Cost:
        """What a call made at ``at`` (with a time zone) cost, or why that is not known."""
        if call.cost_problem is not None:  # a cost function that failed is not overruled by a price list
            return Cost("invalid", problem=call.cost_problem)
        if call.cost_usd is not None:
            return Cost("priced", call.cost_usd, "custom")
        if call.usage.total_tokens is None and not call.usage.split_is_known:
            return Cost("no_usage")
        return self._listed_cost(call, at)

    def find(self, call: ModelCall, at: datetime) -> Answer:
        """The price of a call, by the name that was asked for and the one that the provider answered with."""
        names, problem = _names(call), None
        for source in (self._own_price, self._list_price, self._document_price):
            found = source(names, call, at)
            if isinstance(found, Unknown):
                return Answer(None, problem=problem or found.problem)
            if found is None:
                continue
            usd = found.rates.cost(call.usage)
            if usd is not None:
                return Answer(found, usd)
            problem = _missing(found, call)
        return Answer(None, problem=problem or "no price is known for this model")

    def _listed_cost(self, call: ModelCall, at: datetime) -> Cost:
        price, usd, problem = self.find(call, at)
        if price is None:
            return Cost("unpriced", problem=problem)
        if price.version not in self.used:
            self.used[price.version] = price
        if price.rates.is_free:
            return Cost("free", source=price.source, version=price.version)
        return Cost("priced", usd, price.source, price.version)

    def _own_price(self, names: Names, call: ModelCall, at: datetime) -> Price | Unknown | None:
        for name in names:
            line = self._own.find(name, call.provider, at)
            if line is not None:
                return self._resolve(line, call, at)
        return None

    def _resolve(self, line: Line, call: ModelCall, at: datetime) -> Price | Unknown | None:
        """The price of a line, or of the model that it says has the same."""
        for _ in range(MOST_ALIASES):
            if line.price is not None:
                return line.price
            further = self._own.find(line.same_as, call.provider, at)
            if further is None or further is line:
                return self._listed(line.same_as, call, at)
            line = further
        return Unknown("its own prices are aliases of each other in a circle")

    def _listed(self, model: str, call: ModelCall, at: datetime) -> Price | Unknown | None:
        """The list price of the model that an alias names, whoever sells the alias."""
        for provider in (call.provider, None):
            found = self.catalogue.price(model, provider, call.service_tier, at)
            if found is not None:
                return found
        return document_price(model) or Unknown(f"it has the price of {model}, which no price is known for")

    def _list_price(self, names: Names, call: ModelCall, at: datetime) -> Price | Unknown | None:
        # What the provider answered with says which release it was; releases of one model differ in price.
        for name in reversed(names):
            found = self.catalogue.price(name, call.provider, call.service_tier, at)
            if found is not None:
                return found
        return None

    def _document_price(self, names: Names, _call: ModelCall, _at: datetime) -> Price | Unknown | None:
        return next((price for name in names if (price := document_price(name)) is not None), None)


def _missing(price: Price, call: ModelCall) -> str:
    """Why a price cannot say what a call costs."""
    if not call.usage.split_is_known:
        return "its price needs input and output tokens apart, and only the total is known"
    return f"its price has no rate for {'output' if price.rates.output is None else 'input'} tokens"


def _names(call: ModelCall) -> Names:
    """What the model is called: as it was asked for, and as the provider answered."""
    asked, answered = call.model, call.response_model
    if asked and answered and asked != answered:
        return (asked, answered)
    name = asked or answered
    return (name,) if name else ()
