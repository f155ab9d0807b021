"""Budgets: setting them, what was spent of them, and the states that matter to the processes that run tasks.

What was spent is a rollup like any other (:data:`aurea_celery.storage.rollups.BUDGET_SPEND`): it changes in the
transaction that inserts or reprices rows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert

from aurea_celery.budget import BudgetState, BudgetStates, OnExceed, Period
from aurea_celery.clock import to_us
from aurea_celery.events import MAX_COUNT
from aurea_celery.storage import rollups
from aurea_celery.storage.budget_tables import budget_spend, budgets

MOST_STATES = 1000
"""States that are sent: of the jobs that were active last."""


class BudgetKey(Struct, frozen=True, kw_only=True):
    """Which budget: of which job and tasks, both names or patterns, empty for all; and in which period."""

    job: str
    task: str
    period: Period


class BudgetStanding(Struct, frozen=True, kw_only=True):
    """A budget and what was spent of it in the period that runs now, by all the jobs that it is of."""

    key: BudgetKey
    usd: Decimal
    on_exceed: OnExceed
    time_zone: str
    jobs: int
    used_up: int
    spent_usd: Decimal
    total_tokens: int
    unpriced_tokens: int


def set_budget(
    connection: sa.Connection,
    key: BudgetKey,
    usd: Decimal,
    *,
    on_exceed: OnExceed | None = None,
    time_zone: str | None = None,
) -> None:
    """Set a budget; what is not given stays, and is ``warn`` and UTC at first. What was spent already counts.

    Writers wait until the rows of the period are summed.

    Raises:
        sqlalchemy.exc.DBAPIError: If it breaks a rule of the table, or the time zone is not known.
    """
    _hold_all(connection)
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    given = {"on_exceed": on_exceed, "time_zone": time_zone}
    changes: dict[str, Any] = {"usd": usd} | {name: value for name, value in given.items() if value is not None}
    values = {"on_exceed": "warn", "time_zone": "UTC", **_key(key), **changes, "counts_from": sa.func.to_timestamp(0)}
    values |= {"job_like": _like(key.job), "task_like": _like(key.task)}
    statement = insert(budgets).values(values)
    statement = statement.on_conflict_do_update(index_elements=["job", "task", "period"], set_=changes)
    budget_id = connection.scalar(statement.returning(budgets.c.budget_id))
    connection.execute(_COUNT_FROM_NOW, {"budget_id": budget_id})
    connection.execute(sa.delete(budget_spend).where(budget_spend.c.budget_id == budget_id))
    one_job = key.job if key.job and "*" not in key.job else None
    connection.execute(_SUM, {"budget_id": budget_id, "one_job": one_job})


def remove_budget(connection: sa.Connection, key: BudgetKey) -> bool:
    """Remove a budget; whether there was one."""
    _hold_all(connection)
    removed = sa.delete(budgets).where(*(budgets.c[name] == value for name, value in _key(key).items()))
    budget_id = connection.scalar(removed.returning(budgets.c.budget_id))
    connection.execute(sa.delete(budget_spend).where(budget_spend.c.budget_id == budget_id))
    return budget_id is not None


def list_budgets(connection: sa.Connection) -> list[BudgetStanding]:
    """Every budget and what was spent of it in the period that runs now."""
    return [
        BudgetStanding(
            key=BudgetKey(job=row.job, task=row.task, period=row.period),
            usd=row.usd,
            on_exceed=row.on_exceed,
            time_zone=row.time_zone,
            jobs=row.jobs,
            used_up=row.used_up,
            spent_usd=row.spent_usd,
            total_tokens=int(row.token_count),
            unpriced_tokens=int(row.unpriced_tokens),
        )
        for row in connection.execute(_STANDINGS)
    ]


def read_states(connection: sa.Connection) -> BudgetStates:
    """The states that matter: of budgets that are used up, and of those with usage that has no price."""
    has_budgets = bool(connection.scalar(_HAS_BUDGETS))
    rows = connection.execute(_STATES) if has_budgets else ()
    states = [
        BudgetState(
            job=row.job,
            task=row.task,
            period=row.period,
            on_exceed=row.on_exceed,
            usd=row.usd,
            job_id=row.job_id,
            spent_usd=row.spent_usd,
            unpriced_tokens=min(int(row.unpriced_tokens), MAX_COUNT),  # as much as the message can say
            ends_at_us=None if row.ends_at is None else to_us(row.ends_at),
        )
        for row in rows
    ]
    return BudgetStates(has_budgets=has_budgets, states=states)


def _hold_all(connection: sa.Connection) -> None:
    """Wait for those who hold budgets; those that come wait until the transaction ends. Reading is free."""
    connection.execute(sa.text("LOCK TABLE budgets IN EXCLUSIVE MODE"))


def _key(key: BudgetKey) -> dict[str, str]:
    return {"job": key.job, "task": key.task, "period": key.period}


def _like(pattern: str) -> str:
    """A name or pattern as a pattern of LIKE; empty is everything."""
    escaped = pattern.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return escaped.replace("*", "%") or "%"


_HAS_BUDGETS = sa.text("SELECT EXISTS (SELECT FROM budgets)")

_COUNT_FROM_NOW = sa.text(
    f"UPDATE budgets SET counts_from = {rollups.start_of_period('now()')} WHERE budget_id = :budget_id"  # noqa: S608 - ours
)

# What follows from the join is said of the rows too: so partitions and the index on jobs are used.
_SUM = sa.text(
    rollups.BUDGET_SPEND._replace(where="budget_id = :budget_id").insert(
        f"(SELECT * FROM {rollups.EVER}"  # noqa: S608 - our own names
        " WHERE created_at >= (SELECT counts_from FROM budgets WHERE budget_id = :budget_id)"
        " AND (CAST(:one_job AS text) IS NULL OR job_id = :one_job)) AS counted"
    )
)

_CURRENT = (
    f"SELECT *, {rollups.start_of_period('now()')} AS period_at, CASE WHEN period <> 'job' THEN"  # noqa: S608 - ours
    " (date_trunc(period, now() AT TIME ZONE time_zone) + CAST('1 ' || period AS interval)) AT TIME ZONE time_zone END"
    " AS ends_at FROM budgets"
)
_USED_UP, _NOT_JUDGED = "spent_usd >= usd", "unpriced_tokens > 0"
_OF_STATE = "SELECT * FROM current JOIN budget_spend USING (budget_id, period_at) WHERE"

# Each half has an index; with an OR neither would be used.
_STATES = sa.text(
    f"WITH current AS ({_CURRENT})"
    f" {_OF_STATE} {_USED_UP} UNION {_OF_STATE} {_NOT_JUDGED} ORDER BY last_at DESC LIMIT {MOST_STATES}"
)
_STANDINGS = sa.text(
    f"WITH current AS ({_CURRENT})"  # noqa: S608 - our own names
    f" SELECT current.*, count(spend) AS jobs, count(spend) FILTER (WHERE {_USED_UP}) AS used_up,"
    " coalesce(sum(spent_usd), 0) AS spent_usd, coalesce(sum(token_count), 0) AS token_count,"
    " coalesce(sum(unpriced_tokens), 0) AS unpriced_tokens"
    " FROM current LEFT JOIN budget_spend AS spend USING (budget_id, period_at)"
    " GROUP BY budget_id, period_at, job, task, period, usd, on_exceed, time_zone, job_like, task_like, counts_from,"
    " ends_at ORDER BY job, task, period"
)
