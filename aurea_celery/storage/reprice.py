"""Repricing: what rows would cost by today's price lists, at the time that they happened.

Rows are read in the order of their key, some at a time, each piece in a transaction of its own that moves the rollups
too. A run that was interrupted is simply run again: what is done does not change again. Writers are not held up: they
insert rows, which no repricing touches, and both change the rollups in the same order. They may insert faster than
rows are repriced; what they insert once they know of today's lists is left out, so that a run has an end. Until then
they price by the lists of before, also rows that end before those a run has passed: who wants these too lets it wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from aurea_celery.events import ModelCall, Usage
from aurea_celery.storage import rollups
from aurea_celery.storage.bulk import copy, copy_lines
from aurea_celery.storage.database import check_schema, create_engine, translating
from aurea_celery.storage.prices import LOOK_SECONDS, Lists, Pricing, keep_used, read_lists
from aurea_celery.storage.rows import EXACT, UNKNOWN_MODEL, Money, Row, money_of
from aurea_celery.storage.schema import metrics, metrics_id

PIECE_ROWS = 1000
SETTLE_SECONDS = LOOK_SECONDS + 1
"""After this time every writer knows of a changed price, and what was begun before is committed."""

TOKEN_COLUMNS = tuple(name for name in Usage.__struct_fields__ if name != "total_tokens")
_KEY_NAMES = ("created_at", "event_id", "seq")
_KEY = tuple(metrics.c[name] for name in _KEY_NAMES)
_NEWEST = sa.text(f"SELECT last_value FROM {metrics_id.name}")  # noqa: S608 - our own name
_calls = msgspec.json.Decoder(list[ModelCall])


class Selection(Struct, frozen=True, kw_only=True):
    """Which rows: from a time on, until before a time, of a model, of a job; None is all."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    job_id: str | None = None


class Repricing(Struct, kw_only=True):
    """What repricing found so far: rows looked at, rows that change, and their sums in USD before and after.

    ``newly_priced`` rows had tokens without a price and have none of them now, ``newly_unpriced`` ones the other way.
    ``tokens`` are those of all rows looked at; ``unpriced_tokens`` have no price afterwards either.
    """

    rows: int = 0
    changed: int = 0
    newly_priced: int = 0
    newly_unpriced: int = 0
    tokens: int = 0
    unpriced_tokens: int = 0
    old_usd: Decimal = Decimal(0)
    new_usd: Decimal = Decimal(0)
    reached: datetime | None = None

    @property
    def difference_usd(self) -> Decimal:
        """By how much the sum changes."""
        return EXACT.subtract(self.new_usd, self.old_usd)


def reprice(
    url: str,
    make_pricing: Callable[[Lists], Pricing],
    selection: Selection,
    *,
    dry_run: bool = False,
    settle_seconds: float = 0.0,
    progress: Callable[[Repricing], None] = lambda _: None,
) -> Repricing:
    """Price rows again; idempotent. With ``dry_run`` nothing is changed.

    ``progress`` is told after each piece. With :data:`SETTLE_SECONDS` as ``settle_seconds`` it waits first, until
    writers price by today's lists, so that no row of theirs keeps a price of before. Costs that came with an event, and
    those of a failed cost function, stay.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
        DatabaseUnavailable: If the server does not answer; what was done until then stays done.
        SchemaMismatch: If the tables are missing, older or newer.
    """
    found = Repricing()
    engine = create_engine(url)
    try:
        with translating(url):
            with engine.begin() as connection:
                check_schema(connection)
                pricing = make_pricing(read_lists(connection))
            begun, newest = time.monotonic(), None
            time.sleep(settle_seconds)
            after: tuple[Any, ...] | None = None
            while True:
                with engine.begin() as connection:
                    if newest is None and time.monotonic() - begun >= LOOK_SECONDS:
                        newest = connection.scalar(_NEWEST)  # what comes later was priced by today's lists
                    rows = _read(connection, selection, after, newest, lock=not dry_run)
                    changes = list(_changes(rows, pricing, found))
                    if changes and not dry_run:
                        keep_used(connection, pricing.used)
                        _apply(connection, changes)
                if not rows:
                    return found
                last = rows[-1]
                after, found.reached = (last.created_at, last.event_id, last.seq), last.created_at
                progress(found)
    finally:
        engine.dispose()


def _read(
    connection: sa.Connection, selection: Selection, after: tuple[Any, ...] | None, newest: int | None, *, lock: bool
) -> list[sa.Row[Any]]:
    statement = sa.select(metrics).where(metrics.c.calls > 0).order_by(*_KEY).limit(PIECE_ROWS)
    if after is not None:
        statement = statement.where(metrics.c.created_at >= after[0], sa.tuple_(*_KEY) > sa.tuple_(*after))
    if newest is not None:
        statement = statement.where(metrics.c.id <= newest)
    if selection.since is not None:
        statement = statement.where(metrics.c.created_at >= selection.since)
    if selection.until is not None:
        statement = statement.where(metrics.c.created_at < selection.until)
    if selection.model is not None:
        statement = statement.where(metrics.c.model_used == selection.model)
    if selection.job_id is not None:
        statement = statement.where(metrics.c.job_id == selection.job_id)
    return list(connection.execute(statement.with_for_update() if lock else statement).all())


def _changes(rows: list[sa.Row[Any]], pricing: Pricing, found: Repricing) -> Iterator[Row]:
    """The keys of what changes, with its money; what is found is added up."""
    for row in rows:
        found.rows += 1
        found.tokens += row.token_count
        calls, old_money = _calls_of(row), _money_of_row(row)
        money = old_money if calls is None else money_of(calls, [pricing.cost(call, row.created_at) for call in calls])
        found.unpriced_tokens += money.unpriced_tokens
        if money == old_money:
            continue
        found.changed += 1
        found.newly_priced += row.unpriced_tokens > 0 and money.unpriced_tokens == 0
        found.newly_unpriced += row.unpriced_tokens == 0 and money.unpriced_tokens > 0
        found.old_usd = EXACT.add(found.old_usd, row.cost_estimate)
        found.new_usd = EXACT.add(found.new_usd, money.cost_estimate)
        yield (row.created_at, row.event_id, row.seq, *money)


def _money_of_row(row: sa.Row[Any]) -> Money:
    return Money._make(getattr(row, name) for name in Money._fields)


def _calls_of(row: sa.Row[Any]) -> list[ModelCall] | None:
    """The calls of a row as they were captured; None if its cost is not ours to compute."""
    if row.call_usages is not None:
        model = None if row.model_used == UNKNOWN_MODEL else row.model_used
        calls = _calls.decode(msgspec.json.encode(row.call_usages))
        return [msgspec.structs.replace(call, model=model) for call in calls]
    if row.cost_source == "custom" or row.cost_status == "invalid":
        return None
    return [
        ModelCall(
            usage=_usage_of(row),
            provider=row.provider_name,
            model=None if row.model_used == UNKNOWN_MODEL else row.model_used,
            response_model=row.response_model,
            service_tier=row.service_tier,
        )
    ]


def _usage_of(row: sa.Row[Any]) -> Usage:
    """The usage of a row of one call; the total is only set where it was not made of its parts."""
    counts = {name: getattr(row, name) for name in TOKEN_COLUMNS}
    parts = (row.input_tokens or 0) + (row.output_tokens or 0)
    is_total = row.input_tokens is None and row.output_tokens is None and row.cost_status != "no_usage"
    return Usage(**counts, total_tokens=row.token_count if is_total or row.token_count != parts else None)


def _apply(connection: sa.Connection, changes: list[Row]) -> None:
    connection.execute(sa.text(rollups.HOLD_BUDGETS))
    connection.execute(_CREATE)
    copy(connection, "repriced", (*_KEY_NAMES, *Money._fields), copy_lines(changes))
    connection.execute(_MOVE)
    connection.execute(_UPDATE)


_NEW = ", ".join(Money._fields)
_CREATE = sa.text(
    f"CREATE TEMP TABLE repriced ON COMMIT DROP AS SELECT {', '.join(_KEY_NAMES)}, {_NEW}"  # noqa: S608 - our own names
    " FROM metrics WITH NO DATA"
)
# What the rollups gain: sums of differences over rows that count no execution, call or token a second time.
_UNCHANGED = ("executions", "calls", "token_count", "input_tokens", "output_tokens", "latency_ms")
_DIFFERENCES = (
    "SELECT old.job_id, old.task_name, old.provider_name, old.model_used, old.status, old.created_at,"  # noqa: S608 - ours
    " old.redelivered,"
    f" {', '.join(f'0 AS {name}' for name in _UNCHANGED)},"
    " new.unpriced_tokens - old.unpriced_tokens AS unpriced_tokens,"
    " new.cost_estimate - old.cost_estimate AS cost_estimate"
    " FROM repriced AS new JOIN metrics AS old USING (created_at, event_id, seq)"
)
_MOVE = sa.text(f"WITH moved AS ({_DIFFERENCES}), {rollups.adding('moved')} SELECT")
_UPDATE = sa.text(
    "UPDATE metrics AS row SET"  # noqa: S608 - our own names
    " first_cost_estimate = coalesce(row.first_cost_estimate, row.cost_estimate),"
    " first_cost_source = CASE WHEN row.first_cost_estimate IS NULL"
    " THEN row.cost_source ELSE row.first_cost_source END,"
    " first_price_version = CASE WHEN row.first_cost_estimate IS NULL"
    " THEN row.price_version ELSE row.first_price_version END,"
    f" repriced_at = clock_timestamp(), {', '.join(f'{name} = new.{name}' for name in Money._fields)}"
    " FROM repriced AS new WHERE row.created_at = new.created_at AND row.event_id = new.event_id AND row.seq = new.seq"
)
