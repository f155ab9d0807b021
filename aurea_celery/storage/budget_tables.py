"""The tables of budgets: what was set, and what was spent of it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from aurea_celery.budget import ON_EXCEED, PERIODS
from aurea_celery.events import TEXT_MAX_CHARACTERS
from aurea_celery.storage.schema import metadata, one_of

budgets = Table(
    "budgets",
    metadata,
    Column("budget_id", BigInteger, Identity(), primary_key=True),
    Column("job", Text, nullable=False, comment="'' is all jobs together; with a *, each job that matches has its own"),
    Column("task", Text, nullable=False, comment="'' is every task"),
    Column("period", Text, nullable=False, comment="job is the life of a job's id"),
    Column("usd", Numeric, nullable=False),
    Column("on_exceed", Text, nullable=False),
    Column("time_zone", Text, nullable=False, comment="whose days and months"),
    Column("job_like", Text, nullable=False, comment="job as a pattern of LIKE"),
    Column("task_like", Text, nullable=False, comment="task as a pattern of LIKE"),
    Column("counts_from", DateTime(timezone=True), nullable=False, comment="rows before this time do not count"),
    UniqueConstraint("job", "task", "period"),
    one_of("period", PERIODS),
    one_of("on_exceed", ON_EXCEED),
    CheckConstraint(f"greatest(char_length(job), char_length(task)) <= {TEXT_MAX_CHARACTERS}", name="names"),
    CheckConstraint("usd >= 0 AND usd < 'Infinity'", name="usd"),
    CheckConstraint("period <> 'job' OR job <> ''", name="life_is_a_jobs"),
    comment="What jobs may cost in a period",
)

budget_spend = Table(
    "budget_spend",
    metadata,
    Column("budget_id", BigInteger, nullable=False),
    Column("period_at", DateTime(timezone=True), nullable=False, comment="start of the period; 1970 for a job's life"),
    Column("job_id", Text, nullable=False, comment="'' is all jobs together"),
    Column("spent_usd", Numeric, nullable=False),
    Column("token_count", Numeric, nullable=False),
    Column("unpriced_tokens", Numeric, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("budget_id", "period_at", "job_id"),
    Index("budget_spend_spent_idx", "budget_id", "period_at", "spent_usd"),
    Index("budget_spend_unpriced_idx", "budget_id", "period_at", postgresql_where=text("unpriced_tokens > 0")),
    comment="Sums per budget, period and job",
)
