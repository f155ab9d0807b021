"""A database with as many rows as wanted, spread over a year, as a team has them that uses models for everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from aurea_celery.storage import condensed, partitions, rollups

YEAR = timedelta(days=364)
TASKS, MODELS = 200, 30
ROWS_PER_JOB = 33  # 300,000 jobs in ten million rows
BIG_JOB = "the-big-one"
BIG_SHARE = 0.1  # a million of ten million rows
CHUNK_ROWS = 1_000_000

TASKS_PER_JOB = 5

# Jobs begin one after the other and overlap, and each is of a few tasks; a task has its model, and now and then tries
# another one. A few tasks have most of the work.
_ROWS = """
INSERT INTO metrics (
    event_id, seq, created_at, started_at, job_id, task_name, model_used, executions, status, calls, token_count,
    latency_ms, cost_estimate, cost_status, cost_source, price_version, unpriced_tokens, provider_name, input_tokens,
    output_tokens, task_id, root_id, attempt, redelivered, worker, queue, broker_wait_ms, prefetch_wait_ms, tags,
    error_type
)
SELECT
    gen_random_uuid(), 0, ended_at, ended_at - latency_ms * interval '1 millisecond',
    job_id, 'shop.tasks.task_' || task, 'model-' || model, 1, status,
    1, input_tokens + output_tokens, latency_ms,
    CASE WHEN model < 28 THEN (input_tokens * (model + 1) + output_tokens * (model + 1) * 4) * 0.0000001 ELSE 0 END,
    CASE WHEN model < 28 THEN 'priced' ELSE 'unpriced' END,
    CASE WHEN model < 28 THEN 'genai-prices' END, CASE WHEN model < 28 THEN 'price-' || model END,
    CASE WHEN model < 28 THEN 0 ELSE input_tokens + output_tokens END,
    'provider-' || model % 5, input_tokens, output_tokens,
    CAST(gen_random_uuid() AS text), CAST(gen_random_uuid() AS text), 0, false, 'worker-1', 'celery',
    round(CAST(random() * 50 AS numeric), 3), round(CAST(random() * 5 AS numeric), 3),
    CASE WHEN random() < 0.3 THEN jsonb_build_object('team', 'team-' || floor(random() * 8)) ELSE '{}' END,
    CASE WHEN status = 'success' THEN NULL ELSE 'TimeoutError' END
FROM (
    SELECT
        CASE WHEN random() < :big_share THEN :big_job ELSE 'job-' || greatest(0, job_number) END AS job_id,
        ended_at, task,
        CAST(CASE WHEN random() < 0.9 THEN task % :models ELSE floor(random() * :models) END AS int) AS model,
        coalesce((ARRAY['failure', 'retry', 'timeout', 'lost'])[1 + floor(random() * 80)], 'success') AS status,
        CAST(200 + floor(random() * 4000) AS int) AS input_tokens,
        CAST(20 + floor(random() * 800) AS int) AS output_tokens,
        round(CAST(exp(5 + random() * 4) AS numeric), 3) AS latency_ms
    FROM (
        SELECT
            number, number / :rows_per_job - floor(random() * 40) AS job_number,
            CAST(:begin AS timestamptz) + number * CAST(:row_seconds AS float8) * interval '1 second' AS ended_at
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint) - 1) AS number
    ) AS numbered, LATERAL (
        SELECT CAST(
            power(mod(CAST(abs(job_number) AS bigint) * 7919, 1000) / 1000.0, 2) * :tasks + number % :tasks_per_job
            AS bigint
        ) % :tasks AS task
    ) AS of_job
) AS made
"""


def fill(connection: sa.Connection, rows: int, until: datetime) -> None:
    """Write rows of the year before a time, make the rollups, and condense their hours; commits as it goes."""
    begin = until - YEAR
    for week in range(YEAR // partitions.WEEK + 1):
        partitions.ensure(connection, begin + week * partitions.WEEK)
    connection.execute(sa.text("SET statement_timeout = 0"))
    connection.execute(sa.text("SELECT setseed(0.5)"))
    shape = {
        "row_seconds": YEAR.total_seconds() / rows,
        "begin": begin,
        "tasks": TASKS,
        "models": MODELS,
        "tasks_per_job": TASKS_PER_JOB,
    }
    shape |= {"big_share": BIG_SHARE, "big_job": BIG_JOB, "rows_per_job": ROWS_PER_JOB}
    for first in range(0, rows, CHUNK_ROWS):
        connection.execute(sa.text(_ROWS), shape | {"first": first, "last": min(first + CHUNK_ROWS, rows)})
        connection.commit()
    rollups.rebuild(connection)
    connection.commit()
    condensed.condense(connection.engine, until)


def analyze(connection: sa.Connection) -> None:
    """What autovacuum does some time after."""
    connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE"))


def bytes_per_row(connection: sa.Connection, rows: int) -> dict[str, float]:
    """What a row of ``metrics`` takes on disk: of its own, in indexes, and in the rollups."""
    parts = "SELECT coalesce(sum(pg_relation_size(relid)), 0) FROM pg_partition_tree('metrics')"
    indexes = "SELECT coalesce(sum(pg_indexes_size(relid)), 0) FROM pg_partition_tree('metrics')"
    tables = (*(rollup.table for rollup in rollups.ROLLUPS), *condensed.TABLES.values())
    sums = "SELECT " + " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
    named = {"rows": parts, "indexes": indexes, "rollups": sums}
    return {name: float(connection.scalar(sa.text(query)) or 0) / rows for name, query in named.items()}


def now() -> datetime:
    """The time that the year ends at: a full day, so that figures can be asked for up to it."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
