"""Laws of the one formula that makes tokens into money."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from genai_prices import Usage as BookUsage
from genai_prices.types import ModelInfo, ModelPrice, Provider, TimeOfDateConstraint
from hypothesis import assume, given
from hypothesis import strategies as st

from aurea_celery.events import Usage
from aurea_celery.pricing.catalogue import QUARTER, RATE_OF_PRICE, Catalogue, rates_of
from aurea_celery.pricing.rates import RATE_NAMES, Rates, Tier, decode_rates, encode_rates

MOST = 10**9
usd = st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=6)
counts = st.integers(0, MOST)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    """Rates with tiers that are not cheaper than what they replace, as no provider's are."""
    flat = {name: draw(usd) for name in RATE_NAMES if name in ("input", "output") or draw(st.booleans())}
    tiers: dict[str, tuple[Tier, ...]] = {
        name: (Tier(draw(st.integers(0, MOST)), flat[name] + draw(usd)),)
        for name in flat
        if name not in ("total", "request") and draw(st.booleans())
    }
    return Rates(**flat, tiers=tiers)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usages whose input and output are known apart."""
    read, written, text, audio = (draw(counts) for _ in range(4))
    reasoning, spoken, said = (draw(counts) for _ in range(3))
    return Usage(
        input_tokens=read + written + text + audio,
        output_tokens=reasoning + spoken + said,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=draw(st.integers(0, written)),
        input_audio_tokens=audio,
        reasoning_output_tokens=reasoning,
        output_audio_tokens=spoken,
    )


def cost(price: Rates, usage: Usage) -> Decimal:
    found = price.cost(usage)
    assert found is not None
    return found


@given(rates(), usages())
def test_a_cost_is_a_finite_number_and_never_negative(price: Rates, usage: Usage) -> None:
    assert cost(price, usage).is_finite()
    assert cost(price, usage) >= 0


@given(rates(), usages(), usages())
def test_a_cost_is_additive_over_calls_of_one_tier(price: Rates, one: Usage, other: Usage) -> None:
    flat = msgspec.structs.replace(price, tiers={}, request=None)
    parts = zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    both = Usage(**dict(zip(Usage.__struct_fields__, [None if a is None else a + b for a, b in parts], strict=True)))

    assert cost(flat, both) == cost(flat, one) + cost(flat, other)


GROWING = {
    "input_tokens": {},
    "output_tokens": {},
    "cache_read_input_tokens": {"input_tokens": 1},
    "cache_write_input_tokens": {"input_tokens": 1},
    "input_audio_tokens": {"input_tokens": 1},
    "output_audio_tokens": {"output_tokens": 1},
    "reasoning_output_tokens": {"output_tokens": 1},
}


@pytest.mark.parametrize("kind", GROWING)
@given(price=rates(), usage=usages(), more=counts)
def test_more_tokens_of_any_kind_never_cost_less(kind: str, price: Rates, usage: Usage, more: int) -> None:
    grown = {name: getattr(usage, name) + more for name in (kind, *GROWING[kind])}

    assert cost(price, msgspec.structs.replace(usage, **grown)) >= cost(price, usage)


@given(rates())
def test_stored_rates_are_the_same_rates(price: Rates) -> None:
    assert decode_rates(encode_rates(price)) == price


@pytest.mark.parametrize("bad", ["-1", "NaN", "Infinity"])
def test_a_rate_is_a_number_from_zero(bad: str) -> None:
    with pytest.raises(ValueError, match="finite number"):
        Rates(input=Decimal(bad))
    with pytest.raises(ValueError, match="finite number"):
        Rates(input=Decimal(1), tiers={"input": (Tier(5, Decimal(bad)),)})


def test_of_a_total_alone_only_a_blended_rate_makes_a_cost() -> None:
    assert Rates(input=Decimal(1), output=Decimal(2)).cost(Usage(total_tokens=5)) is None
    assert Rates(total=Decimal(30)).cost(Usage(total_tokens=500)) == Decimal("0.015")
    assert Rates(total=Decimal(30)).cost(Usage(input_tokens=300, output_tokens=200)) == Decimal("0.015")


def test_no_digit_is_lost_however_many_a_rate_has() -> None:
    rate = Decimal("0.12345678901234567890123456789")

    assert Rates(total=rate).cost(Usage(total_tokens=3 * 10**15)) == Decimal("370370367.03703703670370370367")
    assert Rates(input=rate, output=Decimal("1e3")).cost(Usage(input_tokens=3, output_tokens=1)) == Decimal(
        "0.00100037037036703703703670370370367"
    )


def test_the_price_of_the_most_special_kind_holds_where_the_kind_around_it_has_none() -> None:
    million = {"input_tokens": 10**6, "output_tokens": 0}
    hour = Usage(**million, cache_write_input_tokens=500_000, cache_write_1h_input_tokens=400_000)
    heard = Usage(**million, cache_read_input_tokens=500_000, input_audio_tokens=900_000)
    plain: dict[str, Any] = {"input": Decimal(3), "output": Decimal(15)}

    assert Rates(**plain, cache_write_1h=Decimal(6)).cost(hour) == Decimal("0.6") * 3 + Decimal("0.4") * 6
    cached_audio = Rates(**plain, input_audio=Decimal(10), cache_audio_read=Decimal(1)).cost(heard)
    assert cached_audio == Decimal("0.1") * 3 + Decimal("0.5") * 10 + Decimal("0.4") * 1


@given(rates(), usages())
def test_each_token_costs_what_the_most_special_kind_with_a_price_does(price: Rates, usage: Usage) -> None:
    """Added up token by token, apart from our formula."""
    usd = {name: value for name in RATE_NAMES if (value := getattr(price, name)) is not None}
    for name, tiers in price.tiers.items():
        reached = [tier.usd for tier in tiers if (usage.input_tokens or 0) > tier.above_input_tokens]
        usd[name] = reached[-1] if reached else usd[name]
    read, written, hour, heard = (
        usage.cache_read_input_tokens or 0,
        usage.cache_write_input_tokens or 0,
        usage.cache_write_1h_input_tokens or 0,
        usage.input_audio_tokens or 0,
    )
    thought, spoken = usage.reasoning_output_tokens or 0, usage.output_audio_tokens or 0
    tokens = {
        ("input",): (usage.input_tokens or 0) - read - written - heard,
        ("cache_read", "input"): read,
        ("cache_write", "input"): written - hour,
        ("cache_write_1h", "cache_write", "input"): hour,
        ("input_audio", "input"): heard,
        ("output",): (usage.output_tokens or 0) - thought - spoken,
        ("reasoning_output", "output"): thought,
        ("output_audio", "output"): spoken,
    }
    by_kind = [count * next(usd[kind] for kind in kinds if kind in usd) for kinds, count in tokens.items()]

    assert cost(price, usage) == sum(by_kind) / 10**6 + usd.get("request", 0)


BOOK = Catalogue()
PRICES = [
    (provider, model, prices)
    for provider in BOOK.snapshot.providers
    for model in provider.models
    for prices in ([model.prices] if not isinstance(model.prices, list) else [one.prices for one in model.prices])
]
PLAIN = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"}


@given(st.sampled_from(PRICES), st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
def test_the_formula_agrees_with_the_price_books_own(
    found: tuple[Provider, ModelInfo, ModelPrice], parts: list[int]
) -> None:
    _, _, prices = found
    price = rates_of(prices)
    assume(price is not None)
    assert price is not None
    names = {name for name, value in vars(prices).items() if value is not None}
    read, written = (parts[0] if "cache_read_mtok" in names else 0), (parts[1] if "cache_write_mtok" in names else 0)
    mine = Usage(
        input_tokens=read + written + parts[2],
        output_tokens=parts[3],
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
    )
    theirs = BookUsage(
        input_tokens=mine.input_tokens, output_tokens=parts[3], cache_read_tokens=read, cache_write_tokens=written
    )

    assert float(cost(price, mine)) == pytest.approx(float(prices.calc_price(theirs)["total_price"]), rel=1e-12)


def test_prices_by_the_time_of_day_change_at_full_quarters() -> None:
    times = [
        at
        for _, model, _ in PRICES
        if isinstance(model.prices, list)
        for one in model.prices
        if isinstance(one.constraint, TimeOfDateConstraint)
        for at in (one.constraint.start_time, one.constraint.end_time)
    ]

    assert times
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert all((datetime.combine(day, at.replace(tzinfo=UTC)) - day) % QUARTER == day - day for at in times)


def test_every_token_price_of_the_book_is_known_here() -> None:
    """A new kind of price per token is a kind of token that a usage should count."""
    known = {*RATE_OF_PRICE, "cache_image_read_mtok", "input_image_mtok", "output_image_mtok"}
    known |= {"input_video_mtok", "output_video_mtok", "output_citation_mtok"}

    assert {name for *_, prices in PRICES for name in vars(prices) if name.endswith("_mtok")} <= known
