"""The price book of the genai-prices package: dated list prices of some forty providers.

The package finds models by rules such as "begins with gpt-4o", by which a new sibling would silently cost what the
old model costs. Here a rule counts only if nothing but a release (a date, a version) is left over.
"""

from __future__ import annotations

import functools
import re
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from genai_prices import __version__ as package_version
from genai_prices import types as book
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import _providers_from_raw  # the package's own updater reads its file with it

from aurea_celery.pricing.names import PLACE, ModelName, book_name, is_release_of
from aurea_celery.pricing.price import Price, Unknown, make_price
from aurea_celery.pricing.rates import Rates, Tier

RATE_OF_PRICE = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_audio_read",
    "output_audio_mtok": "output_audio",
    "output_reasoning_mtok": "reasoning_output",
    "requests_kcount": "request",
}
"""The package's prices for what a usage counts; others (images, pages, seconds) are for what no usage tells of."""

THOUSAND = Decimal(1000)
STANDARD_TIERS = frozenset({"auto", "default", "on_demand", "standard", "standard_only"})
"""What providers call the tier that the list price is for."""

TIER_CONTEXTS = {"batch": {"processing": "batch"}, "on_demand_priority": {"service_tier": "priority"}}
QUARTER = timedelta(minutes=15)
"""Prices change at full quarters of an hour, so that what is found for one holds until the next."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Catalogue:
    """One edition of the price book.

    Args:
        snapshot: The package's data; by default what the installed package brings.
        edition: Its name, part of every price's version.
    """

    def __init__(self, snapshot: DataSnapshot | None = None, edition: str = f"genai-prices {package_version}") -> None:
        self.snapshot = get_snapshot() if snapshot is None else snapshot
        self.edition = edition
        self._price_at = functools.lru_cache(maxsize=8192)(self._find_price)
        self._model_of = functools.lru_cache(maxsize=8192)(self._find_model)

    def price(self, model: str, provider: str | None, service_tier: str | None, at: datetime) -> Price | Unknown | None:
        """The price of a model at a time; None if the book does not know the model.

        :class:`~aurea_celery.pricing.price.Unknown` says that the book knows the model, but not what this costs.
        """
        return self._price_at(model, provider, service_tier, (at - EPOCH) // QUARTER)

    def sellers(self, model: str) -> list[str]:
        """The providers that sell a model, whoever is asked for; takes milliseconds."""
        name = book_name(model, None).model
        return [one.id for one in self.snapshot.providers if any(_is_exact(info.match, name) for info in one.models)]

    @functools.cached_property
    def changes(self) -> frozenset[date]:
        """The days on which prices change that the book knows of, also those to come."""
        return frozenset(
            one.constraint.start_date
            for provider in self.snapshot.providers
            for model in provider.models
            if isinstance(model.prices, list)
            for one in model.prices
            if isinstance(one.constraint, book.StartDateConstraint)
        )

    @property
    def newest_change(self) -> date:
        """The day of the latest change until today: unless it was announced, the book is no older than that."""
        today = datetime.now(UTC).date()
        return max((day for day in self.changes if day <= today), default=date.min)

    def _find_price(
        self, model: str, provider: str | None, service_tier: str | None, quarter: int
    ) -> Price | Unknown | None:
        found = self._model_of(book_name(model, provider))
        if found is None:
            return None
        seller, info = found
        at = EPOCH + quarter * QUARTER
        context = _context(service_tier)
        if context and not any(one.when == context and _is_active(one, at) for one in info.price_variants or ()):
            return Unknown(f"no price is known for the service tier {service_tier}")
        try:
            rates = rates_of(info.get_prices(at, context or None))
        except ValueError:  # a list is fetched from elsewhere: one wrong price in it must not stop the writer
            return Unknown("its list price is no amount of money")
        if rates is None:
            return Unknown("its price is not by token")
        return make_price(rates, "genai-prices", f"{self.edition} {seller.id}/{info.id}")

    def _find_model(self, name: ModelName) -> tuple[book.Provider, book.ModelInfo] | None:
        providers = self.snapshot.providers
        for seller in self._sellers(name):
            others = [one for one in providers if one.id in (seller.fallback_model_providers or ())]
            for provider in (seller, *others):
                for info in provider.models:
                    if _is_exact(info.match, name.model):
                        return provider, info
        return None

    def _sellers(self, name: ModelName) -> list[book.Provider]:
        providers = self.snapshot.providers
        if name.provider is not None:
            same = [one for one in providers if one.id == name.provider]
            return same or [one for one in providers if _says(one.provider_match, name.provider)]
        return [one for one in providers if _says(one.model_match, name.model)]


def catalogue_of(providers: object, edition: str) -> Catalogue:
    """An edition that was fetched: the package's list of providers as JSON has it.

    Raises:
        ValueError: If it is not such a list, or has no model.
    """
    found = _providers_from_raw(providers)
    if not any(provider.models for provider in found):
        raise ValueError("the list has no model")
    return Catalogue(DataSnapshot(found, from_auto_update=False), edition)


def _context(service_tier: str | None) -> dict[str, str]:
    """What the package wants to know of a request; empty for the list price."""
    tier = (service_tier or "").lower()
    if not tier or tier in STANDARD_TIERS:
        return {}
    return TIER_CONTEXTS.get(tier, {"service_tier": tier})


def _is_active(variant: book.PriceVariant, at: datetime) -> bool:
    return variant.constraint is None or variant.constraint.active(at)


def _says(rule: Any, text: str) -> bool:
    return rule is not None and bool(rule.is_match(text))


def _is_exact(rule: Any, model: str) -> bool:
    """Whether a rule of the book means this model, and not one whose name only begins like it."""
    match rule:
        case book.ClauseOr(or_=rules):
            return any(_is_exact(one, model) for one in rules)
        case book.ClauseAnd(and_=rules):
            return bool(rule.is_match(model)) and any(_is_exact(one, model) for one in rules)
        case book.ClauseEquals():
            return bool(rule.is_match(model))
        case book.ClauseRegex(regex=pattern):
            found = re.search(pattern, model)
            return found is not None and bool(found[0]) and _surrounds_a_name(model, found[0])
        case (
            book.ClauseStartsWith(starts_with=text)
            | book.ClauseContains(contains=text)
            | book.ClauseEndsWith(ends_with=text)
        ):
            return bool(rule.is_match(model)) and _surrounds_a_name(model, text.lower())
    return False


def _surrounds_a_name(model: str, name: str) -> bool:
    """Whether nothing but a place and a release is around a name in what a model is called."""
    before, _, after = model.partition(name)
    return PLACE.fullmatch(before) is not None and is_release_of(name, after)


def rates_of(prices: book.ModelPrice) -> Rates | None:
    """The package's price as rates; None if it has none for tokens."""
    flat: dict[str, Decimal] = {}
    tiers: dict[str, tuple[Tier, ...]] = {}
    for key, name in RATE_OF_PRICE.items():
        value = getattr(prices, key, None)
        if isinstance(value, book.TieredPrices):
            flat[name] = value.base
            tiers[name] = tuple(Tier(tier.start, tier.price) for tier in value.tiers)
        elif value is not None:
            flat[name] = value / THOUSAND if name == "request" else value
    if "input" not in flat and "output" not in flat:
        return None
    # An embedding has no output, and a transcription no input, that costs anything.
    return Rates(**{"input": Decimal(0), "output": Decimal(0)} | flat, tiers=tiers)


warnings.filterwarnings("ignore", message="Unsupported", category=UserWarning, module="genai_prices")
