"""The price book over the tables of prices: what pricing knows, from what storage holds."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import httpx2
from genai_prices import UpdatePrices

from aurea_celery.errors import AureaError
from aurea_celery.pricing import PriceBook
from aurea_celery.pricing.catalogue import Catalogue, catalogue_of
from aurea_celery.pricing.own import OwnPrice
from aurea_celery.pricing.rates import Rates
from aurea_celery.storage.prices import Edition, Lists
from aurea_celery.storage.schema import RATE_NAMES, rate_column

STALE_DAYS = 30
"""Older list prices are worth a warning: providers change prices and add models every few weeks."""


class ListPrices(NamedTuple):
    """Which list prices apply, and the day on which they are known to have been up to date.

    Of a fetched list that is the day it was fetched. The package does not say when it was made: for it, it is the day
    of the newest price that it knows, so that it may be younger; or older, if that price was announced before.
    """

    edition: str
    as_of: date

    @property
    def age_days(self) -> int:
        """How old they are today (UTC); at most."""
        return max((datetime.now(UTC).date() - self.as_of).days, 0)

    @property
    def is_stale(self) -> bool:
        """Whether they are older than :data:`STALE_DAYS`."""
        return self.age_days > STALE_DAYS

    def __str__(self) -> str:
        """In one line, with what to do if they are stale."""
        advice = "; fetch newer ones: aurea prices refresh" if self.is_stale else ""
        return f"{self.edition}, {self.age_days:,} day{'' if self.age_days == 1 else 's'} old{advice}"


def list_prices(fetched: Edition | None) -> ListPrices:
    """The list prices that apply, given what :func:`~aurea_celery.storage.prices.edition_without_data` says."""
    if fetched is None or _is_outdated(fetched):
        catalogue = _catalogue(None)
        return ListPrices(catalogue.edition, catalogue.newest_change)
    return ListPrices(fetched.edition, fetched.fetched_at.astimezone(UTC).date())


def pricing_of(lists: Lists) -> PriceBook:
    """The price book that the tables make, with the installed list prices unless newer ones were fetched.

    >>> pricing_of(Lists([], None)).catalogue.edition.split()[0]
    'genai-prices'
    """
    fetched = lists.edition
    newest = None if fetched is None or _is_outdated(fetched) else fetched
    return PriceBook([own_price_of(row) for row in lists.own], _catalogue(newest))


def _is_outdated(fetched: Edition) -> bool:
    """Whether the installed package knows of a change since a list was fetched, which that one did not."""
    since, today = fetched.fetched_at.astimezone(UTC).date(), datetime.now(UTC).date()
    return any(since < day <= today for day in _catalogue(None).changes.difference(fetched.announced))


def own_price_of(row: Mapping[str, Any]) -> OwnPrice:
    """A row of ``model_prices`` as pricing has it."""
    rates = {name: row[rate_column(name)] for name in RATE_NAMES}
    return OwnPrice(
        row["model"],
        row["provider"] or None,
        row["effective_from"],
        None if row["same_as"] is not None else Rates(**rates),
        row["same_as"],
        row["is_pattern"],
    )


@functools.lru_cache(maxsize=2)
def _catalogue(edition: Edition | None) -> Catalogue:
    """The list prices; reading an edition takes a second, so that it is kept, beside the installed one."""
    if edition is None:
        return Catalogue()
    return catalogue_of(json.loads(edition.data), edition.edition)


def fetch_edition(url: str | None = None) -> Edition:
    """The newest list prices that genai-prices publishes.

    Raises:
        AureaError: If it does not answer, or with something else.
    """
    updater = UpdatePrices(url=url) if url else UpdatePrices()
    try:
        answer = httpx2.get(updater.url, timeout=updater.request_timeout, follow_redirects=True).raise_for_status()
        changes = catalogue_of(json.loads(answer.content), "fetched").changes
    except (httpx2.HTTPError, ValueError) as error:
        raise AureaError(f"the list prices could not be fetched from {updater.url} ({type(error).__name__})") from error
    now = datetime.now(UTC)
    announced = tuple(sorted(day for day in changes if day > now.date()))
    return Edition(f"genai-prices fetched {now:%Y-%m-%dT%H:%M}", now, announced, answer.text)
