"""The rollups: sums that change in the transaction that inserts the rows, and can be made anew from them.

One definition serves both: an ``INSERT ... SELECT ... GROUP BY`` over a relation of rows, which is ``inserted`` (what
this statement has just inserted) or :data:`EVER` (all there is, and what retention has dropped). Tables and keys are
always written in the same order, so that writers never wait for each other in a circle.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

BUCKET_BASE = 1.1
"""Buckets of latency grow by 10 %, so that the middle of one is within 5 % of all it holds (as in DDSketch)."""

SMALLEST_BUCKET = -100

# By date_part, which is floating point in every release and several times as fast as extract; exact for two centuries.
QUARTER = "to_timestamp(floor(date_part('epoch', created_at) / 900) * 900)"
HOUR = "to_timestamp(floor(date_part('epoch', created_at) / 3600) * 3600)"
BUCKET = (
    f"CASE WHEN latency_ms > 0"
    f" THEN greatest({SMALLEST_BUCKET}, ceil(ln(CAST(latency_ms AS float8)) / ln(CAST({BUCKET_BASE} AS float8))))"
    f" ELSE {SMALLEST_BUCKET} END"
)
WASTED = "status NOT IN ('success', 'ignored')"
"""Executions that were paid for and came to nothing, or had to be done again."""


def _part(name: str, condition: str) -> dict[str, str]:
    """The measures of a part of the rows, with what is not known of its cost."""
    sums = {
        "executions": "executions",
        "tokens": "token_count",
        "unpriced_tokens": "unpriced_tokens",
        "cost": "cost_estimate",
    }
    return {
        f"{name}_{measure}": f"coalesce(sum({column}) FILTER (WHERE {condition}), 0)"
        for measure, column in sums.items()
    }


MEASURES = {
    "executions": "sum(executions)",
    "calls": "sum(calls)",
    "token_count": "sum(token_count)",
    "input_tokens": "coalesce(sum(input_tokens), 0)",
    "output_tokens": "coalesce(sum(output_tokens), 0)",
    "unpriced_tokens": "sum(unpriced_tokens)",
    "latency_ms": "sum(latency_ms)",
    "cost_estimate": "sum(cost_estimate)",
    **_part("wasted", WASTED),
    **_part("redelivered", "redelivered"),
    "first_at": "min(created_at)",
    "last_at": "max(created_at)",
}
SUMS = (
    "executions",
    "calls",
    "token_count",
    "input_tokens",
    "output_tokens",
    "unpriced_tokens",
    "latency_ms",
    "cost_estimate",
)
"""The columns of ``metrics`` that are summed."""

_NAMES = ("job_id", "task_name", "model_used", "status", "redelivered")

SOURCES = ", ".join((*_NAMES, "provider_name", *SUMS, "created_at"))
"""The columns of ``metrics`` that the rollups are made of."""

_ZEROS = ", ".join(f"0 AS {name}" for name in SUMS)
EVER = (
    f"(SELECT {SOURCES} FROM metrics"  # noqa: S608 - our own names
    f" UNION ALL SELECT {', '.join(_NAMES)}, NULL, {', '.join(SUMS)}, last_at FROM metrics_pruned"
    f" UNION ALL SELECT {', '.join(_NAMES)}, NULL, {_ZEROS}, first_at FROM metrics_pruned) AS ever"
)
"""All rows there are, and what was dropped, as rows that have the sums and the times of those they stand for."""

HORIZON = "(SELECT coalesce(max(pruned_until), '-infinity') FROM metrics_retention)"
"""Rows from this time on are all there; of those before, some were dropped."""

COMBINE = {"first_at": "least({0}, {1})", "last_at": "greatest({0}, {1})"}


class Rollup(NamedTuple):
    """A table of sums: the expressions of its key and of its measures over rows, and which rows count.

    ``join`` is what the rows are joined with; a row counts once for each partner that it has. ``whole`` tells the keys
    whose rows are all in :data:`EVER` at their own time: only these can be compared with their rows, and made anew.
    """

    table: str
    key: dict[str, str]
    measures: dict[str, str]
    where: str = "true"
    join: str = ""
    whole: str = "true"

    def insert(self, relation: str) -> str:
        """The statement that adds a relation's rows."""
        added = ", ".join(f"{name} = {self._combined(name)}" for name in self.measures)
        return (
            f"INSERT INTO {self.table} ({', '.join(self.key | self.measures)})"
            f" {self.sums(relation)} ORDER BY {self._places}"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {added}"
        )

    def sums(self, relation: str) -> str:
        """The query that makes the sums of a relation's rows."""
        sums = ", ".join(f"{expression} AS {name}" for name, expression in (self.key | self.measures).items())
        source = f"{relation} {self.join}" if self.join else relation
        return f"SELECT {sums} FROM {source} WHERE {self.where} GROUP BY {self._places}"  # noqa: S608 - our own names

    @property
    def made(self) -> str:
        """The query that makes the sums anew, of the keys that are whole."""
        return f"SELECT * FROM ({self.sums(EVER)}) AS made WHERE {self.whole}"  # noqa: S608 - our own names

    @property
    def kept(self) -> str:
        """The query that reads the same sums as they are kept."""
        return f"SELECT {', '.join(self.key | self.measures)} FROM {self.table} WHERE {self.whole}"  # noqa: S608 - ours

    @property
    def _places(self) -> str:
        return ", ".join(str(number) for number in range(1, len(self.key) + 1))

    def _combined(self, name: str) -> str:
        return COMBINE.get(name, "{0} + {1}").format(f"{self.table}.{name}", f"excluded.{name}")


DIMENSIONS = {
    "task_name": "task_name",
    "provider_name": "coalesce(provider_name, '')",
    "model_used": "model_used",
    "status": "status",
}
"""What the sums per quarter of an hour can be told apart by."""


def start_of_period(time: str) -> str:
    """The start of a budget's period that a time is in; a job's whole life has one start."""
    return f"CASE period WHEN 'job' THEN to_timestamp(0) ELSE date_trunc(period, {time}, time_zone) END"


BUDGET_SPEND = Rollup(
    "budget_spend",
    {
        "budget_id": "budget_id",
        "period_at": start_of_period("created_at"),
        "job_id": "CASE WHEN job = '' THEN '' ELSE job_id END",
    },
    {
        "spent_usd": "sum(cost_estimate)",
        "token_count": "sum(token_count)",
        "unpriced_tokens": "sum(unpriced_tokens)",
        "last_at": "max(created_at)",
    },
    join="JOIN budgets ON job_id LIKE job_like AND task_name LIKE task_like AND created_at >= counts_from",
    whole=f"(period_at >= {HORIZON} OR period_at = to_timestamp(0))",
)

QUARTERS = Rollup("metrics_15m", {"quarter_at": QUARTER} | DIMENSIONS, MEASURES, whole=f"quarter_at >= {HORIZON}")

LATENCIES = Rollup(
    "metrics_latency_15m",
    {"quarter_at": QUARTER} | DIMENSIONS | {"bucket": BUCKET},
    {"executions": "sum(executions)"},
    where="executions = 1",
    whole=f"quarter_at >= {HORIZON}",
)

ROLLUPS = (
    Rollup("metrics_job", {name: name for name in ("job_id", "task_name", "model_used", "status")}, MEASURES),
    Rollup("metrics_jobs", {"job_id": "job_id"}, MEASURES),
    QUARTERS,
    LATENCIES,
    BUDGET_SPEND,
)

PRUNED = Rollup(
    "metrics_pruned",
    {name: name for name in _NAMES},
    {name: MEASURES[name] for name in (*SUMS, "first_at", "last_at")},
)
"""What is kept of rows that are dropped, so that sums over a job's whole life can still be made anew."""

HOLD_BUDGETS = "LOCK TABLE budgets IN ROW SHARE MODE"
"""Keeps budgets what they are until the transaction ends; in a statement of its own, before the one that sums.

Whoever sets a budget waits for it, and then sums the rows that are there; what is summed later knows the budget.
"""


def adding(relation: str) -> str:
    """The same for all rollups, as the steps of a WITH that follow the one that makes the relation.

    The hours that it changes are no longer condensed. Whoever condenses them waits until this has ended, for it keeps
    others out of ``metrics_uncondensed``; and if it comes later, finds them there.
    """
    hours = (
        f"INSERT INTO metrics_uncondensed SELECT DISTINCT {HOUR} FROM {relation} ORDER BY 1"  # noqa: S608 - our own names
        " ON CONFLICT DO NOTHING"
    )
    steps = {"hours": hours} | {rollup.table: rollup.insert(relation) for rollup in ROLLUPS}
    return ", ".join(f"{name}_changed AS ({step})" for name, step in steps.items())


_NOTHING_CONDENSED = (
    "INSERT INTO metrics_uncondensed SELECT DISTINCT date_trunc('hour', quarter_at, 'UTC') FROM metrics_15m"
    " ON CONFLICT DO NOTHING"
)


def rebuild(connection: sa.Connection) -> None:
    """Make every rollup anew, where its rows are whole; the rest stays as it is. Writers wait meanwhile.

    No hour is condensed then, until somebody does it.
    """
    connection.execute(sa.text(HOLD_BUDGETS))
    tables = ", ".join(rollup.table for rollup in ROLLUPS)
    connection.execute(sa.text(f"LOCK TABLE metrics, {tables} IN SHARE ROW EXCLUSIVE MODE"))
    for rollup in ROLLUPS:
        columns = ", ".join(rollup.key | rollup.measures)
        connection.execute(sa.text(f"DELETE FROM {rollup.table} WHERE {rollup.whole}"))  # noqa: S608 - our own names
        connection.execute(sa.text(f"INSERT INTO {rollup.table} ({columns}) {rollup.made}"))
    connection.execute(sa.text(_NOTHING_CONDENSED))
