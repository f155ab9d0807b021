"""Rows of ``model_prices``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aurea_celery.commands.price_rows import RATES, price_row


def own_price(model: str, **given: Any) -> dict[str, Any]:
    """A price of the user's own: rates in USD per million tokens, as texts, and whatever else a price may say."""
    return price_row(
        {"model": model, **{name: Decimal(value) if name in RATES else value for name, value in given.items()}}
    )
