"""The product's published default prices, for usage of which only the total is known, or models nobody else lists."""

from __future__ import annotations

import functools
import re
from decimal import Decimal

from aurea_celery.pricing.price import Price, make_price
from aurea_celery.pricing.rates import Rates

USD_PER_1000 = {
    "gpt-4": Decimal("0.03"),
    "gpt-4-turbo": Decimal("0.01"),
    "gpt-3.5-turbo": Decimal("0.002"),
    "claude-3-opus": Decimal("0.015"),
    "claude-3-sonnet": Decimal("0.003"),
    "claude-3-haiku": Decimal("0.00025"),
    "llama-2-70b": Decimal("0.0007"),
    "llama-2-13b": Decimal("0.0002"),
}
"""USD per 1,000 tokens, input and output alike."""

EDITION = "document-1"
RELEASE_DATE = re.compile(r"-(\d{4}|\d{8}|\d{4}-\d{2}-\d{2})$")
"""As in ``gpt-4-0613``, ``claude-3-opus-20240229`` and ``gpt-4-turbo-2024-04-09``."""


@functools.lru_cache(maxsize=1024)
def document_price(model: str) -> Price | None:
    """The price by the model's name, to which a provider's answer adds the date of its release.

    >>> document_price("gpt-4-0613").rates.total
    Decimal('30.00')
    """
    name = RELEASE_DATE.sub("", model.lower())
    usd = USD_PER_1000.get(name)
    return None if usd is None else make_price(Rates(total=usd * 1000), "document", f"{EDITION} {name}")
