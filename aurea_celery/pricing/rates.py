"""Rates: what a model's tokens cost in USD.

Whatever a price comes from - a user's table, a price book, the document's list - it becomes :class:`Rates`, so that
there is one arithmetic (:mod:`aurea_celery.pricing.formula`), and so that what is stored beside a row is enough to
compute its cost again.
"""

from __future__ import annotations

import functools
from decimal import Context, Decimal
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from aurea_celery.events import Usage
from aurea_celery.pricing.formula import Formula, make_formula

MILLION = Decimal("1e-6")
EXACT = Context(prec=1000)
"""Costs are finite decimals; Python's default context would round them to 28 digits."""

Tokens = Annotated[int, Meta(ge=0)]


class Tier(Struct, frozen=True, array_like=True):
    """A rate for calls with more than so many input tokens; all of the call's tokens cost it, not only those above."""

    above_input_tokens: Tokens
    usd: Decimal


class Rates(Struct, frozen=True, omit_defaults=True, kw_only=True, dict=True):
    """USD per million tokens of each kind. None: tokens of this kind cost what those they are part of cost.

    ``input`` and ``output`` are for tokens that no other rate takes; ``total`` is for usage of which only the total is
    known, and for both where there is neither ``input`` nor ``output``. ``request`` is USD per call. ``tiers`` holds,
    by the name of a rate, what replaces it in long calls, by rising number of input tokens.

    >>> rates = Rates(input=Decimal("2.5"), output=Decimal("10"), cache_read=Decimal("1.25"))
    >>> rates.cost(Usage(input_tokens=1000, output_tokens=200, cache_read_input_tokens=300)) == Decimal("0.004125")
    True

    Raises:
        ValueError: If a rate is negative or no finite number.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    input_audio: Decimal | None = None
    cache_audio_read: Decimal | None = None
    output_audio: Decimal | None = None
    reasoning_output: Decimal | None = None
    total: Decimal | None = None
    request: Decimal | None = None
    tiers: dict[str, tuple[Tier, ...]] = {}

    def __post_init__(self) -> None:
        flat = [getattr(self, name) for name in RATE_NAMES]
        for rate in (*flat, *(tier.usd for tiers in self.tiers.values() for tier in tiers)):
            if rate is not None and not (rate.is_finite() and rate >= 0):
                raise ValueError("a rate must be a finite number >= 0")
        if not self.tiers.keys() <= set(RATE_NAMES):
            raise ValueError("a tier must replace a known rate")

    @functools.cached_property
    def is_free(self) -> bool:
        """Whether nothing costs anything."""
        return not self.tiers and not any(getattr(self, name) for name in RATE_NAMES)

    def cost(self, usage: Usage) -> Decimal | None:
        """What a call with this usage costs in USD, exactly; None if no rate fits what is known of it."""
        if not usage.split_is_known or (self.input is None and self.output is None):
            return (
                None if self.total is None else EXACT.multiply(EXACT.multiply(self.total, usage.token_count), MILLION)
            )
        input_tokens = usage.input_tokens or 0
        if (self.input is None and input_tokens) or (self.output is None and usage.output_tokens):
            return None
        formulas, unit_usd = self._formulas
        formula = formulas[0]
        for longer in formulas[1:]:
            if input_tokens > longer.above_input_tokens:
                formula = longer
        return EXACT.multiply(formula.units(usage), unit_usd)

    @functools.cached_property
    def _formulas(self) -> tuple[list[Formula], Decimal]:
        """The formula of all calls and those of longer ones, by rising length; and their unit in USD.

        The unit is the largest power of ten, a millionth at most, of which every rate is a whole number.
        """
        limits = sorted({tier.above_input_tokens for tiers in self.tiers.values() for tier in tiers})
        flat = [self._above(limit) for limit in (-1, *limits)]
        exponents = (int(usd.as_tuple().exponent) for rates in flat for usd in rates.values())
        unit = Decimal((0, (1,), min((0, *exponents))))
        units = [{name: int(EXACT.divide(usd, unit)) for name, usd in rates.items()} for rates in flat]
        formulas = [make_formula(limit, rates) for limit, rates in zip((-1, *limits), units, strict=True)]
        return formulas, EXACT.multiply(unit, MILLION)

    def _above(self, input_tokens: int) -> dict[str, Decimal]:
        """The rates of calls with more input tokens than these, per million; of a request, too."""
        rates = {name: usd for name in RATE_NAMES if (usd := getattr(self, name)) is not None}
        longer = [(name, tier) for name in rates for tier in self.tiers.get(name, ())]
        rates |= {name: tier.usd for name, tier in longer if input_tokens >= tier.above_input_tokens}
        return rates if self.request is None else rates | {"request": EXACT.divide(self.request, MILLION)}


RATE_NAMES = tuple(name for name in Rates.__struct_fields__ if name != "tiers")

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Rates)


def encode_rates(rates: Rates) -> str:
    """Rates as the JSON text that is stored beside what they priced."""
    return _encoder.encode(rates).decode()


def decode_rates(text: str | bytes) -> Rates:
    """The rates of a stored text.

    Raises:
        msgspec.ValidationError: If it does not hold rates.
    """
    return _decoder.decode(text)
