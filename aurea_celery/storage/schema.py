"""The tables, as SQLAlchemy Core describes them; the migrations make exactly these.

Money is ``NUMERIC`` and latency ``NUMERIC`` milliseconds with microsecond digits, so that sums are the same in whatever
order rows arrive, and a rollup equals its rows to the last digit.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from aurea_celery.events import COST_STATUSES, STATUSES, TEXT_MAX_CHARACTERS

VERSION_TABLE = "aurea_schema_version"
"""Alembic's bookkeeping, under a name of ours: the host's own migrations may live in the same database."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """A column has one of some values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def _name(column: str) -> CheckConstraint:
    return CheckConstraint(f"char_length({column}) BETWEEN 1 AND {TEXT_MAX_CHARACTERS}", name=column)


CONDENSED_DIMENSIONS = ("all", "task", "model", "provider")

metrics_id = Sequence("metrics_id_seq", metadata=metadata, data_type=BigInteger)

metrics = Table(
    "metrics",
    metadata,
    Column("id", BigInteger, metrics_id, server_default=metrics_id.next_value(), nullable=False),
    Column("event_id", Uuid, nullable=False, comment="one execution; with seq the key of idempotence"),
    Column("seq", SmallInteger, nullable=False, comment="0 stands for the execution, further models follow"),
    Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("CURRENT_TIMESTAMP"),
        comment="the end of the execution",
    ),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("task_name", Text, nullable=False),
    Column(
        "model_used", Text, nullable=False, comment="'none' without a call, 'unknown' with tokens of a model not named"
    ),
    Column("executions", SmallInteger, nullable=False, comment="1 on seq 0, else 0: tasks are SUM(executions)"),
    Column("status", Text, nullable=False),
    Column("calls", Integer, nullable=False, comment="model calls summed in this row"),
    Column("token_count", BigInteger, nullable=False),
    Column("latency_ms", Numeric, nullable=False, comment="of the execution, on seq 0; 0 on further models"),
    Column("cost_estimate", Numeric, nullable=False, comment="USD; 0 unless cost_status is priced"),
    Column("cost_status", Text, nullable=False),
    Column("cost_source", Text, comment="which price list, or custom"),
    Column("cost_problem", Text, comment="why there is no cost"),
    Column("price_version", Text, comment="the price in metrics_prices that made cost_estimate"),
    Column("first_cost_estimate", Numeric, comment="before the first repricing; NULL: never repriced"),
    Column("first_cost_source", Text),
    Column("first_price_version", Text),
    Column("repriced_at", DateTime(timezone=True)),
    Column("unpriced_tokens", BigInteger, nullable=False),
    Column("provider_name", Text),
    Column("response_model", Text),
    Column("service_tier", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_input_tokens", BigInteger),
    Column("cache_write_input_tokens", BigInteger),
    Column("reasoning_output_tokens", BigInteger),
    Column("cache_write_1h_input_tokens", BigInteger, comment="of the cache writes, those for an hour"),
    Column("input_audio_tokens", BigInteger),
    Column("output_audio_tokens", BigInteger),
    Column("call_usages", JSONB, comment="of a row of several calls what each used, to price them again"),
    Column("time_to_first_token_ms", Numeric),
    Column("error_type", Text, comment="the exception's class name, never its message"),
    Column("task_id", Text),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Column("parent_event_id", Uuid, comment="the monitored call or task this one ran inside"),
    Column("attempt", Integer, nullable=False, comment="0 is the first try"),
    Column("redelivered", Boolean, nullable=False),
    Column("worker", Text),
    Column("queue", Text),
    Column("broker_wait_ms", Numeric),
    Column("prefetch_wait_ms", Numeric),
    Column(
        "clock_skewed",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="a wait was below 0, because two clocks disagree, and is 0 here",
    ),
    Column("tags", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("created_at", "event_id", "seq"),
    _name("job_id"),
    _name("task_name"),
    _name("model_used"),
    one_of("status", STATUSES),
    one_of("cost_status", COST_STATUSES),
    CheckConstraint("executions IN (0, 1) AND (executions = 1) = (seq = 0)", name="executions"),
    CheckConstraint("calls >= 0 AND attempt >= 0", name="counts"),
    CheckConstraint("token_count >= 0 AND unpriced_tokens BETWEEN 0 AND token_count", name="tokens"),
    CheckConstraint("latency_ms >= 0 AND latency_ms < 'Infinity'", name="latency"),
    CheckConstraint(
        "cost_estimate >= 0 AND cost_estimate < 'Infinity' AND (cost_status = 'priced' OR cost_estimate = 0)",
        name="cost",
    ),
    CheckConstraint(
        "coalesce(input_tokens, 0) >= coalesce(cache_read_input_tokens, 0) + coalesce(cache_write_input_tokens, 0)"
        " AND coalesce(output_tokens, 0) >= coalesce(reasoning_output_tokens, 0)"
        " AND least(input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens,"
        " reasoning_output_tokens, cache_write_1h_input_tokens, input_audio_tokens, output_audio_tokens) >= 0"
        " AND coalesce(cache_write_input_tokens, 0) >= coalesce(cache_write_1h_input_tokens, 0)"
        " AND coalesce(input_tokens, 0) >= coalesce(input_audio_tokens, 0)"
        " AND coalesce(output_tokens, 0) >= coalesce(output_audio_tokens, 0)",
        name="usage",
    ),
    Index("idx_metrics_job_id", "job_id", "created_at", "id"),
    Index("metrics_tags_idx", "tags", postgresql_using="gin", postgresql_ops={"tags": "jsonb_path_ops"}),
    postgresql_partition_by="RANGE (created_at)",
    comment="What one execution spent on one model",
)


def _measures() -> list[Column[object]]:
    """The sums that every rollup keeps; those of tokens have no largest value, whatever a message says."""
    return [
        Column("executions", BigInteger, nullable=False),
        Column("calls", BigInteger, nullable=False),
        Column("token_count", Numeric, nullable=False),
        Column("input_tokens", Numeric, nullable=False),
        Column("output_tokens", Numeric, nullable=False),
        Column("unpriced_tokens", Numeric, nullable=False),
        Column("latency_ms", Numeric, nullable=False),
        Column("cost_estimate", Numeric, nullable=False),
        Column("wasted_executions", BigInteger, nullable=False, comment="that came to no success"),
        Column("wasted_tokens", Numeric, nullable=False, comment="of token_count, theirs"),
        Column("wasted_unpriced_tokens", Numeric, nullable=False, comment="of unpriced_tokens, theirs"),
        Column("wasted_cost", Numeric, nullable=False, comment="of cost_estimate, theirs"),
        Column("redelivered_executions", BigInteger, nullable=False, comment="that the broker handed out again"),
        Column("redelivered_tokens", Numeric, nullable=False, comment="of token_count, theirs"),
        Column("redelivered_unpriced_tokens", Numeric, nullable=False, comment="of unpriced_tokens, theirs"),
        Column("redelivered_cost", Numeric, nullable=False, comment="of cost_estimate, theirs"),
        Column("first_at", DateTime(timezone=True), nullable=False),
        Column("last_at", DateTime(timezone=True), nullable=False),
    ]


def _dimensions() -> list[Column[object]]:
    """What sums per quarter of an hour can be told apart by; an execution's latency goes with its first model."""
    return [
        Column("task_name", Text, nullable=False),
        Column("provider_name", Text, nullable=False, comment="'' where it is not known"),
        Column("model_used", Text, nullable=False),
        Column("status", Text, nullable=False),
    ]


metrics_job = Table(
    "metrics_job",
    metadata,
    Column("job_id", Text, nullable=False),
    Column("task_name", Text, nullable=False),
    Column("model_used", Text, nullable=False),
    Column("status", Text, nullable=False),
    *_measures(),
    PrimaryKeyConstraint("job_id", "task_name", "model_used", "status"),
    comment="Sums per job, task, model and status",
)

metrics_jobs = Table(
    "metrics_jobs",
    metadata,
    Column("job_id", Text, nullable=False),
    *_measures(),
    PrimaryKeyConstraint("job_id"),
    Index("metrics_jobs_last_at_idx", "last_at", "job_id"),
    Index("metrics_jobs_cost_idx", "cost_estimate", "job_id"),
    Index("metrics_jobs_executions_idx", "executions", "job_id"),
    Index("metrics_jobs_prefix_idx", "job_id", postgresql_ops={"job_id": "text_pattern_ops"}),
    comment="Sums per job, for listing jobs",
)

metrics_15m = Table(
    "metrics_15m",
    metadata,
    Column("quarter_at", DateTime(timezone=True), nullable=False, comment="start of the quarter of an hour, UTC"),
    *_dimensions(),
    *_measures(),
    PrimaryKeyConstraint("quarter_at", "task_name", "provider_name", "model_used", "status"),
    comment="Sums per quarter of an hour: right in every time zone",
)

metrics_latency_15m = Table(
    "metrics_latency_15m",
    metadata,
    Column("quarter_at", DateTime(timezone=True), nullable=False),
    *_dimensions(),
    Column("bucket", SmallInteger, nullable=False, comment="latency_ms in (1.1^(bucket-1), 1.1^bucket]"),
    Column("executions", BigInteger, nullable=False),
    PrimaryKeyConstraint("quarter_at", "task_name", "provider_name", "model_used", "status", "bucket"),
    comment="A log-bucket histogram of latency: percentiles that can be merged, error at most 5 percent",
)


def _condensed(table: str, starts_at: str, comment: str) -> Table:
    """Sums of whole spans by one name at a time."""
    return Table(
        table,
        metadata,
        Column("dimension", Text, nullable=False, comment="what name is a name of"),
        Column("starts_at", DateTime(timezone=True), nullable=False, comment=starts_at),
        Column("name", Text, nullable=False, comment="'' of all; of a provider that is not known"),
        Column("status", Text, nullable=False),
        *_measures(),
        Column("buckets", ARRAY(SmallInteger), nullable=False, comment="of latency as in metrics_latency_15m"),
        Column("bucket_executions", ARRAY(BigInteger), nullable=False, comment="of each of buckets"),
        PrimaryKeyConstraint("dimension", "starts_at", "name", "status"),
        one_of("dimension", CONDENSED_DIMENSIONS),
        comment=comment,
    )


metrics_1h = _condensed("metrics_1h", "start of the hour, UTC", "Sums per hour by one name at a time, of 100 days")
metrics_1d = _condensed("metrics_1d", "start of the day, UTC", "Sums per day by one name at a time")

metrics_uncondensed = Table(
    "metrics_uncondensed",
    metadata,
    Column("hour_at", DateTime(timezone=True), primary_key=True, comment="its sums have changed since, and its day's"),
    comment="Hours of which metrics_1h and metrics_1d do not tell, but metrics_15m",
)

metrics_pruned = Table(
    "metrics_pruned",
    metadata,
    Column("job_id", Text, nullable=False),
    Column("task_name", Text, nullable=False),
    Column("model_used", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("redelivered", Boolean, nullable=False),
    Column("executions", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("token_count", Numeric, nullable=False),
    Column("input_tokens", Numeric, nullable=False),
    Column("output_tokens", Numeric, nullable=False),
    Column("unpriced_tokens", Numeric, nullable=False),
    Column("latency_ms", Numeric, nullable=False),
    Column("cost_estimate", Numeric, nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("job_id", "task_name", "model_used", "status", "redelivered"),
    comment="Sums of the rows that retention has dropped: rows + these = rollups",
)

metrics_retention = Table(
    "metrics_retention",
    metadata,
    Column("pruned_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("partition", Text, nullable=False),
    Column("pruned_until", DateTime(timezone=True), nullable=False, comment="no row from this time on was dropped"),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False, comment="of the dropped table and its indexes"),
    Column("first_at", DateTime(timezone=True), comment="of the dropped rows; NULL: there were none"),
    Column("last_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("pruned_at", "partition"),
    comment="What retention has dropped, and when",
)

metrics_rejected = Table(
    "metrics_rejected",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("rejected_at", DateTime(timezone=True), nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    Column("payload_hash", Text, nullable=False, comment="so that a redelivery is not rejected twice"),
    Column("source_id", Uuid, comment="the process that sent it, where known"),
    Column("reason", Text, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("payload_hash"),
    comment="What could not be written, and why",
)

metrics_sources = Table(
    "metrics_sources",
    metadata,
    Column("source_id", Uuid, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("captured", BigInteger, nullable=False, comment="events it says it has produced so far"),
    Column("written", BigInteger, nullable=False, comment="of these, events in metrics"),
    Column("rejected", BigInteger, nullable=False, comment="of these, events in metrics_rejected"),
    Column("duplicates", BigInteger, nullable=False, comment="events that came again and were not written again"),
    Column("dropped", JSONB, nullable=False, server_default=text("'{}'"), comment="events given up, by reason"),
    Column("lost", BigInteger, nullable=False, server_default=text("0"), comment="the sum of dropped"),
    Column("excluded", BigInteger, nullable=False, server_default=text("0"), comment="executions left out by name"),
    Column(
        "sampled_out", BigInteger, nullable=False, server_default=text("0"), comment="executions left out by chance"
    ),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, comment="when its last batch was written"),
    Column("through", Text, nullable=False, server_default="queue", comment="how its events come here"),
    Column(
        "last_event_at",
        DateTime(timezone=True),
        comment="end of the newest event of its last batch; null if none is new",
    ),
    Column("open_since", DateTime(timezone=True), comment="since when, without a break, some of captured is missing"),
    one_of("through", ("queue", "api")),
    comment="The books: captured = written + rejected + still on the way, per process of the host",
)

metrics_posted = Table(
    "metrics_posted",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="of the event: its rows are found by both"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of what was posted"),
    Column("posted_at", DateTime(timezone=True), nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    Index(None, "posted_at"),
    comment="Ids that clients of the API gave: what is posted again is not written again",
)

RATE_NAMES = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "output_audio",
    "total",
)
"""The rates that a user can set; each is a column of ``model_prices``, in USD per million tokens."""


def rate_column(name: str) -> str:
    """The column of a rate."""
    return f"{name}_usd_per_million"


_RATES = ", ".join(map(rate_column, RATE_NAMES))

model_prices = Table(
    "model_prices",
    metadata,
    Column("model", Text, nullable=False, comment="as it is asked for, or as the provider answers"),
    Column("provider", Text, nullable=False, server_default=text("''"), comment="'' is any"),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    Column(
        "is_pattern", Boolean, nullable=False, server_default=text("false"), comment="* in model stands for anything"
    ),
    Column("same_as", Text, comment="the model whose price this one has; then there are no rates"),
    *(Column(rate_column(name), Numeric) for name in RATE_NAMES),
    Column("note", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    PrimaryKeyConstraint("model", "provider", "effective_from"),
    _name("model"),
    CheckConstraint(
        f"least({_RATES}) >= 0 AND greatest({_RATES}) < 'Infinity'",
        name="rates",
    ),
    CheckConstraint(
        f"(same_as IS NULL) = (num_nonnulls({_RATES}) > 0)",
        name="says_one_thing",
    ),
    comment="The user's own and overriding prices, by date",
)

metrics_prices = Table(
    "metrics_prices",
    metadata,
    Column("price_version", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("unit_prices", JSONB, nullable=False, comment="USD per million tokens, by kind: costs can be made anew"),
    Column("first_used_at", DateTime(timezone=True), nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    comment="Every price that a cost in metrics was computed with",
)

price_books = Table(
    "price_books",
    metadata,
    Column("edition", Text, primary_key=True),
    Column("fetched_at", DateTime(timezone=True), nullable=False, server_default=text("CURRENT_TIMESTAMP")),
    Column("announced", ARRAY(Date), nullable=False, comment="days of changes that it knew to come"),
    Column("data", Text, nullable=False, comment="genai-prices' list of providers, as it was fetched"),
    comment="Editions of the list prices that are newer than the installed package",
)
