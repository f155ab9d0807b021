"""The user's own prices: by date, by name before pattern, by alias, and only where that was said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from aurea_celery.events import Cost, ModelCall, Usage
from aurea_celery.pricing import PriceBook
from aurea_celery.pricing.own import OwnPrice
from aurea_celery.pricing.rates import Rates

pytestmark = pytest.mark.clock

YEAR = {year: datetime(year, 1, 1, tzinfo=UTC) for year in (2024, 2025, 2026)}
NOW = datetime(2026, 11, 24, tzinfo=UTC)
MILLION = Usage(input_tokens=1_000_000, output_tokens=0)


def line(model: str, usd: str | None = None, since: int = 2024, **rest: object) -> OwnPrice:
    rates = None if usd is None else Rates(input=Decimal(usd), output=Decimal(usd))
    return OwnPrice(model, rest.pop("provider", None), YEAR[since], rates, **rest)  # type: ignore[arg-type]  # by name


def cost(*lines: OwnPrice, model: str, at: datetime = YEAR[2026], **rest: str | None) -> Cost:
    return PriceBook(lines).cost(ModelCall(usage=MILLION, model=model, **rest), at)  # type: ignore[arg-type]  # by name


def test_they_win_over_list_prices_and_say_so() -> None:
    found = cost(line("gpt-4", "7"), model="GPT-4", provider="openai")

    assert (found.status, found.usd, found.source) == ("priced", Decimal(7), "own")
    assert found.version is not None
    assert found.version.startswith("own gpt-4 2024-01-01 ")


@pytest.mark.parametrize(("year", "usd"), [(2024, 1), (2025, 2), (2026, 2)])
def test_the_price_of_the_time_of_the_call(year: int, usd: int) -> None:
    assert cost(line("house", "1"), line("house", "2", since=2025), model="house", at=YEAR[year]).usd == usd


def test_before_the_first_date_there_is_none() -> None:
    assert cost(line("house", "1", since=2025), model="house", at=YEAR[2024]).status == "unpriced"


def test_a_providers_price_before_anybodys() -> None:
    both = (line("house", "1"), line("house", "2", provider="groq"))

    assert cost(*both, model="house", provider="groq").usd == 2
    assert cost(*both, model="house", provider="openai").usd == 1
    assert cost(*both, model="house").usd == 1


def test_an_alias_has_the_price_of_what_it_names() -> None:
    assert cost(line("azure/my-gpt4", same_as="gpt-4o"), model="azure/my-gpt4").usd == Decimal("2.5")
    chain = (line("prod", same_as="house"), line("house", "3"))
    assert cost(*chain, model="prod").usd == 3
    assert cost(line("prod", same_as="nobody-knows"), model="prod").problem is not None


def test_aliases_in_a_circle_are_a_reason_and_no_endless_loop() -> None:
    found = cost(line("a", same_as="b"), line("b", same_as="a"), model="a")

    assert (found.status, found.problem) == ("unpriced", "its own prices are aliases of each other in a circle")


def test_a_pattern_only_where_it_was_said_and_the_longest_first() -> None:
    assert cost(line("house-*", "1"), model="house-7").status == "unpriced"
    patterns = (
        line("house-*", "1", is_pattern=True),
        line("house-large-*", "2", is_pattern=True),
        line("house-x", "9"),
    )
    assert cost(*patterns, model="house-7").usd == 1
    assert cost(*patterns, model="house-large-7").usd == 2
    assert cost(*patterns, model="house-x").usd == 9
    assert cost(*patterns, model="my-house-7").status == "unpriced"


def test_free_is_not_unpriced() -> None:
    found = cost(line("ollama/*", "0", is_pattern=True), model="ollama/llama3")

    assert (found.status, found.usd, found.problem) == ("free", Decimal(0), None)


@pytest.mark.parametrize(
    ("model", "provider", "usd"),
    [
        ("gpt-4o", "openai", "2.5"),
        ("gpt-4o-2024-05-13", "openai", "5"),
        ("gpt-4o", "azure.ai.openai", "2.5"),
        ("azure/gpt-4o", None, "2.5"),
        ("vertex_ai/gemini-2.5-pro", None, "2.5"),
        ("claude-3-opus-20240229", "anthropic", "15"),
        ("us.anthropic.claude-3-5-sonnet-20240620-v1:0", "aws.bedrock", "3"),
        ("models/gemini-2.0-flash", "gcp.gemini", "0.1"),
        ("claude-sonnet-4-20250514", "anthropic", "3"),
        ("vertex_ai/claude-sonnet-4@20250514", None, "3"),
        ("gpt-5-nano-2025-08-07", "openai", "0.05"),
        ("magistral-small-2506", "mistral_ai", "0.5"),
        ("ft:gpt-4o-mini-2024-07-18:acme:shop:abc123", "openai", "0.3"),
        ("gemini-2.0-flash-001", "gcp.gemini", "0.1"),
        ("gemini-2.5-flash-lite-preview-06-17", "gcp.gemini", "0.1"),
    ],
)
def test_names_as_they_come(model: str, provider: str | None, usd: str) -> None:
    assert cost(model=model, provider=provider).usd == Decimal(usd)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-mega",
        "gpt-4o-2024-05-13-turbo",
        "claude-3-opus-ultra",
        "gemini-2.5-pro-max",
        "o3-max",
        "claude-opus-4-100",
        "gpt-5-nano-x",
    ],
)
def test_a_new_sibling_is_not_silently_priced(model: str) -> None:
    assert cost(model=model).status == "unpriced"


def test_what_the_provider_answered_with_decides_between_releases() -> None:
    assert cost(model="gpt-4o", response_model="gpt-4o-2024-05-13", provider="openai").usd == 5


@pytest.mark.parametrize(
    ("tier", "usd"), [("default", "1.25"), ("flex", "0.625"), ("priority", "2.5"), ("batch", "0.625")]
)
def test_the_service_tier(tier: str, usd: str) -> None:
    assert cost(model="gpt-5", provider="openai", service_tier=tier, at=NOW).usd == Decimal(usd)


def test_a_tier_nobody_has_a_price_for_is_not_the_standard_one() -> None:
    found = cost(model="gpt-5", provider="openai", service_tier="scale")

    assert (found.status, found.problem) == ("unpriced", "no price is known for the service tier scale")


def test_the_price_of_the_day() -> None:
    """OpenAI lowered o3 by four fifths on 2025-06-10."""
    before, after = (datetime(2025, 6, day, tzinfo=UTC) for day in (9, 11))

    assert (cost(model="o3", at=before).usd, cost(model="o3", at=after).usd) == (Decimal(10), Decimal(2))
