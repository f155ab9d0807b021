"""The chain of price sources: the first that knows answers.

1. the event's own cost: the user's cost function, or the provider's own figure;
2. the document's table of blended prices (:data:`DOCUMENT_USD_PER_1000`);
3. nobody: the call is unpriced, which is not free.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from aurea_celery.events import Cost, ModelCall

DOCUMENT_USD_PER_1000 = {
    "gpt-4": Decimal("0.03"),
    "gpt-4-turbo": Decimal("0.01"),
    "gpt-3.5-turbo": Decimal("0.002"),
    "claude-3-opus": Decimal("0.015"),
    "claude-3-sonnet": Decimal("0.003"),
    "claude-3-haiku": Decimal("0.00025"),
    "llama-2-70b": Decimal("0.0007"),
    "llama-2-13b": Decimal("0.0002"),
}
"""USD per 1,000 tokens, input and output alike: the product's published default prices."""

DOCUMENT_VERSION = "document-1"
RELEASE_DATE = re.compile(r"-(\d{4}|\d{8}|\d{4}-\d{2}-\d{2})$")
"""As in ``gpt-4-0613``, ``claude-3-opus-20240229`` and ``gpt-4-turbo-2024-04-09``."""


Source = Callable[[ModelCall, datetime], Cost | None]


def own_cost(call: ModelCall, _at: datetime) -> Cost | None:
    """The cost that came with the event; a cost function that failed is not overruled by a price list."""
    if call.cost_problem is not None:
        return Cost("invalid", problem=call.cost_problem)
    if call.cost_usd is not None:
        return Cost("priced", call.cost_usd, "custom")
    return None


def no_usage(call: ModelCall, _at: datetime) -> Cost | None:
    """A call of which no token count is known has no cost to compute."""
    known = call.usage.total_tokens is not None or call.usage.split_is_known
    return None if known else Cost("no_usage")


def document_price(call: ModelCall, _at: datetime) -> Cost | None:
    """The document's blended price, by the model's name; a provider's answer adds the date of its release."""
    price_usd = _document_usd_per_1000(call.model or "")
    if price_usd is None:
        return None
    return Cost("priced", call.usage.token_count * price_usd / 1000, "document", DOCUMENT_VERSION)


@functools.lru_cache(maxsize=1024)
def _document_usd_per_1000(model: str) -> Decimal | None:
    return DOCUMENT_USD_PER_1000.get(RELEASE_DATE.sub("", model.lower()))


SOURCES: tuple[Source, ...] = (own_cost, no_usage, document_price)


def price(call: ModelCall, at: datetime) -> Cost:
    """What a call made at ``at`` cost.

    >>> from aurea_celery.events import Usage
    >>> call = ModelCall(usage=Usage(total_tokens=500), model="gpt-4")
    >>> price(call, datetime(2026, 1, 1)).usd
    Decimal('0.015')
    """
    for source in SOURCES:
        cost = source(call, at)
        if cost is not None:
            return cost
    return Cost("unpriced", problem="no price is known for this model")
