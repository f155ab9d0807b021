"""What executions spent, and how much of it is known: a cost is never told without the tokens that have no price."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct

SHARE_DIGITS = 6


class Spending(Struct, frozen=True, kw_only=True):
    """What some executions spent. The cost is that of the priced share of their tokens; see :func:`priced_share`."""

    count: int
    total_tokens: int
    unpriced_tokens: int
    priced_share: Decimal | None
    total_cost: Decimal


class Waste(Spending, frozen=True, kw_only=True):
    """What executions spent that came to nothing, also by status and by task, the most expensive first."""

    by_status: dict[str, Spending]
    by_task: dict[str, Spending]


class Redelivered(Spending, frozen=True, kw_only=True):
    """What executions spent whose message had been delivered before, also by task, the most expensive first.

    They may have come to something, so that this is no part of the waste, nor the waste a part of this.
    """

    by_task: dict[str, Spending]


class Columns(NamedTuple):
    """The columns of a rollup that a spending is read from."""

    executions: str
    tokens: str
    unpriced_tokens: str
    cost: str


ALL = Columns("executions", "token_count", "unpriced_tokens", "cost_estimate")
WASTED = Columns("wasted_executions", "wasted_tokens", "wasted_unpriced_tokens", "wasted_cost")
REDELIVERED = Columns("redelivered_executions", "redelivered_tokens", "redelivered_unpriced_tokens", "redelivered_cost")

ALL_OF_THEM = Decimal(1)


def spending(row: Any, columns: Columns = ALL) -> Spending:
    """What a row of sums says."""
    tokens, unpriced_tokens = int(getattr(row, columns.tokens)), int(getattr(row, columns.unpriced_tokens))
    return Spending(
        count=int(getattr(row, columns.executions)),
        total_tokens=tokens,
        unpriced_tokens=unpriced_tokens,
        priced_share=priced_share(tokens, unpriced_tokens),
        total_cost=plain(getattr(row, columns.cost)),
    )


def priced_share(tokens: int, unpriced_tokens: int) -> Decimal | None:
    """The share of tokens that have a price, 0 to 1; None without tokens. Rounded down: 1 is all of them.

    >>> str(priced_share(3, 1)), str(priced_share(10**9, 1)), str(priced_share(5, 0)), priced_share(0, 0)
    ('0.666666', '0.999999', '1', None)
    """
    if not tokens:
        return None
    if not unpriced_tokens:
        return ALL_OF_THEM
    parts = (tokens - unpriced_tokens) * 10**SHARE_DIGITS // tokens
    return plain(Decimal(parts).scaleb(-SHARE_DIGITS))


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros.

    >>> plain(Decimal("0.1500")), plain(Decimal("100"))
    (Decimal('0.15'), Decimal('100'))
    """
    text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".")) if "." in text else Decimal(text)
