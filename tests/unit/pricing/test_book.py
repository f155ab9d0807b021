"""The chain of prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given

from aurea_celery.events import ModelCall, Usage
from aurea_celery.pricing import PriceBook
from aurea_celery.pricing.catalogue import catalogue_of
from aurea_celery.pricing.own import OwnPrice
from aurea_celery.pricing.rates import Rates
from tests.support.events import calls

pytestmark = pytest.mark.clock

BOOK = PriceBook()
NOW = datetime(2026, 11, 24, tzinfo=UTC)

# The published table, USD per 1,000 tokens.
PUBLISHED = {
    "gpt-4": "0.03",
    "gpt-4-turbo": "0.01",
    "gpt-3.5-turbo": "0.002",
    "claude-3-opus": "0.015",
    "claude-3-sonnet": "0.003",
    "claude-3-haiku": "0.00025",
    "llama-2-70b": "0.0007",
    "llama-2-13b": "0.0002",
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_prices(model: str) -> None:
    cost = BOOK.cost(ModelCall(usage=Usage(total_tokens=1_000), model=model), NOW)

    assert (cost.status, cost.usd, cost.source) == ("priced", Decimal(PUBLISHED[model]), "document")


@pytest.mark.parametrize("model", ["gpt-4-0613", "GPT-4", "gpt-4-turbo-2024-04-09", "claude-3-opus-20240229"])
def test_a_release_date_in_the_name_is_no_other_price(model: str) -> None:
    assert BOOK.cost(ModelCall(usage=Usage(total_tokens=1), model=model), NOW).status == "priced"


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4-32k", "gpt-4-06", "gpt-4-061"])
def test_another_model_is_not_taken_for_a_known_one(model: str) -> None:
    assert BOOK.cost(ModelCall(usage=Usage(total_tokens=1), model=model), NOW).status == "unpriced"


def test_an_own_cost_wins_and_may_be_zero() -> None:
    cost = BOOK.cost(ModelCall(usage=Usage(total_tokens=1_000), model="gpt-4", cost_usd=Decimal(0)), NOW)

    assert (cost.status, cost.usd, cost.source) == ("priced", Decimal(0), "custom")


def test_a_cost_function_that_failed_is_not_overruled() -> None:
    cost = BOOK.cost(ModelCall(usage=Usage(total_tokens=1_000), model="gpt-4", cost_problem="it failed"), NOW)

    assert (cost.status, cost.usd, cost.problem) == ("invalid", Decimal(0), "it failed")


def test_a_model_nobody_knows_is_not_free() -> None:
    assert BOOK.cost(ModelCall(usage=Usage(total_tokens=1_000), model="nobody-knows"), NOW).status == "unpriced"
    assert BOOK.cost(ModelCall(usage=Usage(total_tokens=1_000)), NOW).status == "unpriced"


def test_without_usage_there_is_nothing_to_price() -> None:
    assert BOOK.cost(ModelCall(usage=Usage(), model="gpt-4"), NOW).status == "no_usage"


def test_a_total_that_is_its_parts_hides_none_of_them() -> None:
    """Providers say all three counts, and so does who copies them."""
    apart = Usage(input_tokens=60, output_tokens=40)
    all_three = Usage(input_tokens=60, output_tokens=40, total_tokens=100)

    for model in ("gpt-4o", "gpt-4"):
        cost = BOOK.cost(ModelCall(usage=all_three, model=model), NOW)
        assert cost == BOOK.cost(ModelCall(usage=apart, model=model), NOW)
        assert cost.source == "genai-prices"


@pytest.mark.parametrize(
    ("usage", "problem"),
    [
        (Usage(total_tokens=9), "its price needs input and output tokens apart, and only the total is known"),
        (Usage(input_tokens=9, output_tokens=1), "its price has no rate for output tokens"),
        (Usage(output_tokens=1), "its price has no rate for output tokens"),
    ],
)
def test_a_price_that_cannot_say_says_what_is_missing(usage: Usage, problem: str) -> None:
    book = PriceBook([OwnPrice("reads-only", None, datetime(1970, 1, 1, tzinfo=UTC), Rates(input=Decimal(3)))])
    cost = book.cost(ModelCall(usage=usage, model="reads-only"), NOW)

    assert (cost.status, cost.problem) == ("unpriced", problem)


def test_a_list_price_below_zero_is_none() -> None:
    house = {"id": "house", "name": "House", "api_pattern": "house", "model_match": {"equals": "gift"}}
    gift = {"id": "gift", "match": {"equals": "gift"}, "prices": {"input_mtok": -4, "output_mtok": 8}}
    book = PriceBook(catalogue=catalogue_of([house | {"models": [gift]}], "fetched"))
    cost = book.cost(ModelCall(usage=Usage(input_tokens=9, output_tokens=1), model="gift"), NOW)

    assert (cost.status, cost.problem) == ("unpriced", "its list price is no amount of money")


@given(calls)
def test_every_call_has_a_cost_or_a_reason(call: ModelCall) -> None:
    cost = BOOK.cost(call, NOW)

    assert cost.usd.is_finite()
    assert cost.usd >= 0
    assert cost.usd == 0 or cost.status == "priced"
    assert (cost.status in ("unpriced", "invalid")) == (cost.problem is not None)
