"""Rates: what a model's tokens cost, and the one formula that makes a usage into USD.

Whatever a price comes from - a user's table, a price book, the document's list - it becomes :class:`Rates`, so that
there is one arithmetic, and so that what is stored beside a row is enough to compute its cost again.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from aurea_celery.events import Usage

MILLION = Decimal("1e-6")
ZERO = Decimal(0)
EXACT = Context(prec=1000)
"""Products and sums of counts and rates are finite decimals; Python's default context would round them to 28 digits."""

Tokens = Annotated[int, Meta(ge=0)]


class Tier(Struct, frozen=True, array_like=True):
    """A rate for calls with more than so many input tokens; all of the call's tokens cost it, not only those above."""

    above_input_tokens: Tokens
    usd: Decimal


class Rates(Struct, frozen=True, omit_defaults=True, kw_only=True):
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

    @property
    def is_free(self) -> bool:
        """Whether nothing costs anything."""
        return all(not rate for name in RATE_NAMES if (rate := getattr(self, name)) is not None) and not self.tiers

    def cost(self, usage: Usage) -> Decimal | None:
        """What a call with this usage costs in USD, exactly; None if no rate fits what is known of it."""
        if not usage.split_is_known or (self.input is None and self.output is None):
            return None if self.total is None else EXACT.multiply(usage.token_count * self.total, MILLION)
        tokens_usd = ZERO
        for name, count in _billed(self, usage):
            rate = self._rate(name, usage.input_tokens or 0)
            if rate is None:
                return None
            tokens_usd = EXACT.add(tokens_usd, EXACT.multiply(rate, count))
        return EXACT.add(EXACT.multiply(tokens_usd, MILLION), self.request or ZERO)

    def _rate(self, name: str, input_tokens: int) -> Decimal | None:
        for tier in reversed(self.tiers.get(name, ())):
            if input_tokens > tier.above_input_tokens:
                return tier.usd
        rate: Decimal | None = getattr(self, name)
        return rate


RATE_NAMES = tuple(name for name in Rates.__struct_fields__ if name != "tiers")


class _Billed(NamedTuple):
    rate: str
    tokens: int


def _billed(rates: Rates, usage: Usage) -> list[_Billed]:
    """The tokens of a usage by the rate that they cost; each token once."""
    return [one for one in (*_billed_input(rates, usage), *_billed_output(rates, usage)) if one.tokens]


def _billed_input(rates: Rates, usage: Usage) -> list[_Billed]:
    whole = usage.input_tokens or 0
    read = (usage.cache_read_input_tokens or 0) if rates.cache_read is not None else 0
    written = (usage.cache_write_input_tokens or 0) if rates.cache_write is not None else 0
    written_1h = (usage.cache_write_1h_input_tokens or 0) if written and rates.cache_write_1h is not None else 0
    audio = (usage.input_audio_tokens or 0) if rates.input_audio is not None else 0
    # No provider says how much of the audio was cached: as little as the counts allow.
    both = max(0, read + written + audio - whole)
    read_audio = min(both, read) if rates.cache_audio_read is not None else 0
    return [
        _Billed("input", whole - read - written - audio + both),
        _Billed("cache_read", read - read_audio),
        _Billed("cache_write", written - written_1h),
        _Billed("cache_write_1h", written_1h),
        _Billed("input_audio", audio - both),
        _Billed("cache_audio_read", read_audio),
    ]


def _billed_output(rates: Rates, usage: Usage) -> list[_Billed]:
    whole = usage.output_tokens or 0
    audio = (usage.output_audio_tokens or 0) if rates.output_audio is not None else 0
    reasoning = (usage.reasoning_output_tokens or 0) if rates.reasoning_output is not None else 0
    reasoning = min(reasoning, whole - audio)
    return [
        _Billed("output", whole - audio - reasoning),
        _Billed("output_audio", audio),
        _Billed("reasoning_output", reasoning),
    ]


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
