"""The tables of prices: the user's own, editions of the list prices, and what costs were computed with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from aurea_celery.events import Cost, ModelCall
from aurea_celery.storage.schema import metrics_prices, model_prices, price_books

LOOK_SECONDS = 5.0
"""A writer knows of a changed price after this time at most."""


class UsedPrice(Protocol):
    """A price that a cost was computed with."""

    @property
    def source(self) -> str:
        """Which price list it is from."""

    @property
    def unit_prices(self) -> str:
        """Its rates as JSON."""


class Edition(NamedTuple):
    """A fetched edition of the list prices; ``announced`` are the days of changes that it knew to come."""

    edition: str
    fetched_at: datetime
    announced: tuple[date, ...]
    data: str = ""


class Pricing(Protocol):
    """What prices calls; :class:`aurea_celery.pricing.PriceBook` behind :mod:`aurea_celery.writer` is the real one."""

    @property
    def used(self) -> Mapping[str, UsedPrice]:
        """The prices used so far, by their version."""

    def cost(self, call: ModelCall, at: datetime) -> Cost:
        """What a call cost, or why that is not known."""


class Lists(NamedTuple):
    """What the tables say: the user's prices, and the newest edition of the list prices that was fetched."""

    own: Sequence[Mapping[Any, Any]]
    edition: Edition | None


class PriceLists:
    """Reads the tables of prices again when they have changed, looking every few seconds."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._state: object = None

    def changed(self, connection: sa.Connection) -> Lists | None:
        """What the tables say now, if they may say something else than the last time."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return None
        state = connection.execute(_STATE).one()
        self._looked_at = time.monotonic()
        if state == self._state:
            return None
        self._state = state
        return read_lists(connection)


_STATE = sa.select(
    sa.select(sa.func.count()).select_from(model_prices).scalar_subquery().label("prices"),
    sa.select(sa.func.max(model_prices.c.changed_at)).scalar_subquery().label("changed_at"),
    sa.select(sa.func.max(price_books.c.fetched_at)).scalar_subquery().label("fetched_at"),
)


def read_lists(connection: sa.Connection) -> Lists:
    """What the tables of prices say."""
    in_order = sa.select(model_prices).order_by(*model_prices.primary_key.columns)
    own = connection.execute(in_order).mappings().all()
    books = price_books.c
    columns = (books.edition, books.fetched_at, books.announced, books.data)
    found = connection.execute(sa.select(*columns).order_by(books.fetched_at.desc()).limit(1)).one_or_none()
    return Lists(
        own, None if found is None else Edition(found.edition, found.fetched_at, tuple(found.announced), found.data)
    )


def edition_without_data(connection: sa.Connection) -> Edition | None:
    """The newest edition of the list prices that was fetched, but for its prices; None if none was."""
    books = price_books.c
    columns = (books.edition, books.fetched_at, books.announced)
    found = connection.execute(sa.select(*columns).order_by(books.fetched_at.desc()).limit(1)).one_or_none()
    return None if found is None else Edition(found.edition, found.fetched_at, tuple(found.announced))


def keep_used(connection: sa.Connection, used: Mapping[str, UsedPrice]) -> None:
    """Keep prices that costs of this transaction were computed with."""
    values = [
        {"price_version": version, "source": price.source, "unit_prices": price.unit_prices}
        for version, price in sorted(used.items())
    ]
    if values:
        connection.execute(_KEEP, values)


# The text is JSON already.
_KEEP = (
    insert(metrics_prices)
    .values(
        price_version=sa.bindparam("price_version"),
        source=sa.bindparam("source"),
        unit_prices=sa.cast(sa.bindparam("unit_prices", type_=sa.Text), metrics_prices.c.unit_prices.type),
    )
    .on_conflict_do_nothing()
)


def set_prices(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set prices of the user's; one of the same model, provider and time takes the place of what was there.

    Raises:
        sqlalchemy.exc.DBAPIError: If one breaks a rule of the table.
    """
    _hold(connection)
    names = [column.name for column in model_prices.c if not column.primary_key and column.name != "changed_at"]
    statement = insert(model_prices)
    changes = {name: statement.excluded[name] for name in names} | {"changed_at": sa.func.clock_timestamp()}
    statement = statement.on_conflict_do_update(constraint=model_prices.primary_key, set_=changes)
    for row in rows:
        connection.execute(statement, row)


def _hold(connection: sa.Connection) -> None:
    """Let others who change prices wait: they must commit in the order of ``changed_at``, by which writers notice.

    Reading is free.
    """
    connection.execute(sa.text("LOCK TABLE model_prices IN SHARE ROW EXCLUSIVE MODE"))


def remove_prices(connection: sa.Connection, model: str, provider: str | None, since: datetime | None) -> int:
    """Remove a model's prices, of one provider or of all, from one time or of all; how many there were.

    Names of models are told apart without regard to capitals.
    """
    _hold(connection)
    prices = model_prices.c
    statement = sa.delete(model_prices).where(sa.func.lower(prices.model) == model.lower())
    if provider is not None:
        statement = statement.where(prices.provider == provider)
    if since is not None:
        statement = statement.where(prices.effective_from == since)
    return int(connection.execute(statement).rowcount)


def keep_edition(connection: sa.Connection, edition: Edition) -> None:
    """Keep a fetched edition of the list prices; older ones go."""
    connection.execute(sa.delete(price_books))
    connection.execute(sa.insert(price_books).values(edition._asdict()))
