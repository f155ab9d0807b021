"""Costs beside what providers publish, written down by hand and added up here, without our formula or price list."""

from __future__ import annotations

from fractions import Fraction

import pytest

from aurea_celery.pricing import PriceBook
from tests.support.published import BATCH_DAY, PAGE, USAGES, Case, cases, page_with, table

pytestmark = pytest.mark.clock

BOOK = PriceBook()
CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section}/{case.row}/{case.usage}")
def test_a_cost_is_what_the_provider_publishes(case: Case) -> None:
    cost = BOOK.cost(case.call, case.at)

    assert (cost.status, cost.source) == ("priced", "genai-prices")
    assert Fraction(cost.usd) == case.published_usd


def test_enough_is_compared() -> None:
    assert len({(case.section, case.call.model) for case in CASES}) >= 60
    assert len({case.section for case in CASES}) >= 8
    assert {case.usage for case in CASES} == set(USAGES)


def test_a_batch_has_no_price_before_the_list_knows_one() -> None:
    batches = [case for case in CASES if case.usage == "batch"]

    assert {BOOK.cost(case.call, BATCH_DAY.replace(year=2025)).status for case in batches} == {"unpriced"}


def test_the_table_of_the_page_is_what_we_say() -> None:
    assert page_with(table()) == PAGE.read_text(), "write it anew: python -m tests.support.published"
