"""What the queries of the dashboard have in common: the variables, the time, and the relations that they read.

Names between ``$__`` and ``()`` are macros of Grafana's PostgreSQL data source, ``${...}`` are variables; ``expand.py``
says what becomes of them. Each relation is a step of a WITH. What is asked of all jobs is answered from the sums per
quarter of an hour; what is asked of some jobs from their rows, which have an index by job and time. Whether All is
chosen is known when a query is planned, so that PostgreSQL leaves out the half that is not wanted.
"""

from __future__ import annotations

from aurea_celery.storage.rollups import BUCKET, BUCKET_BASE, WASTED
from aurea_celery.storage.spans import SECONDS
from aurea_celery.storage.totals import FAILED

ALL = "'__all__'"
"""What stands for a variable when All is chosen, as a literal of SQL."""

JOB, TASK, MODEL, STATUS = (f"${{{name}:sqlstring}}" for name in ("job", "task", "model", "status"))

QUARTER_SECONDS = SECONDS["quarter"]
BEGIN = f"to_timestamp($__unixEpochFrom() / {QUARTER_SECONDS} * {QUARTER_SECONDS})"
END = f"to_timestamp(($__unixEpochTo() + {QUARTER_SECONDS - 1}) / {QUARTER_SECONDS} * {QUARTER_SECONDS})"
"""The time range, widened to full quarters of an hour as the API widens it; so both have the same figures."""

IS_WASTED, HAS_FAILED = WASTED, f"status IN {FAILED}"
PRICED_SHARE = "trunc(1 - sum(unpriced_tokens) / nullif(sum(token_count), 0), 6)"
COST_PER_THOUSAND = "sum(cost_estimate) / nullif(sum(token_count) - sum(unpriced_tokens), 0) * 1000"
"""Of the tokens that have a price: the others would make it cheaper than it is."""


def known(cost: str, unpriced_tokens: str) -> str:
    """A sum of cost, or nothing where no token of it has a price: that is not known, and not free."""
    return f"CASE WHEN {cost} > 0 OR {unpriced_tokens} = 0 THEN {cost} END"


KNOWN_COST = known("sum(cost_estimate)", "sum(unpriced_tokens)")

WASTED_UNPRICED = f"coalesce(sum(unpriced_tokens) FILTER (WHERE {IS_WASTED}), 0)"
WASTED_COST = known(f"coalesce(sum(cost_estimate) FILTER (WHERE {IS_WASTED}), 0)", WASTED_UNPRICED)

POINT = "$__timeGroupAlias(at, $__interval)"
POINT_OR_0 = "$__timeGroupAlias(at, $__interval, 0)"


def is_all(variable: str) -> str:
    """Whether All is chosen."""
    return f"{ALL} IN ({variable})"


# Grafana writes a double quote in a value as \", which PostgreSQL reads as two characters.


def chosen(column: str, variable: str) -> str:
    """Whether a column without an index has one of the chosen values."""
    return f"({is_all(variable)} OR replace({column}, '\"', '\\\"') IN ({variable}))"


IS_ONE_OF_THE_JOBS = f"job_id = ANY (ARRAY(SELECT replace(name, '\\\"', '\"') FROM unnest(ARRAY[{JOB}]) AS name))"
"""Whether a job is one of those that are chosen, by the index."""

IS_CHOSEN_JOB = f"({is_all(JOB)} OR {IS_ONE_OF_THE_JOBS})"


def within(time: str, begin: str = BEGIN) -> str:
    """Whether a time is in the time range."""
    return f"{time} >= {begin}\n     AND {time} < {END}"


IS_CHOSEN = f"""{chosen("task_name", TASK)}
     AND {chosen("model_used", MODEL)}
     AND ({is_all(STATUS)} OR status IN ({STATUS}))"""
NOTHING_CHOSEN = " AND ".join(map(is_all, (TASK, MODEL, STATUS)))


def spent(begin: str = BEGIN) -> str:
    """The step with what was spent since a time: ``at``, the names and the sums."""
    return f"""spent AS (
  SELECT quarter_at AS at, task_name, model_used, status, executions, calls, token_count, input_tokens, output_tokens,
         unpriced_tokens, latency_ms, cost_estimate
    FROM metrics_15m
   WHERE {is_all(JOB)}
     AND {within("quarter_at", begin)}
     AND {IS_CHOSEN}
  UNION ALL
  SELECT created_at, task_name, model_used, status, executions, calls, token_count, coalesce(input_tokens, 0),
         coalesce(output_tokens, 0), unpriced_tokens, latency_ms, cost_estimate
    FROM metrics
   WHERE NOT {is_all(JOB)}
     AND {IS_ONE_OF_THE_JOBS}
     AND {within("created_at", begin)}
     AND {IS_CHOSEN}
)"""


LATENCY = f"""latency AS (
  SELECT quarter_at AS at, task_name, model_used, bucket, executions
    FROM metrics_latency_15m
   WHERE {is_all(JOB)}
     AND {within("quarter_at")}
     AND {IS_CHOSEN}
  UNION ALL
  SELECT created_at, task_name, model_used, {BUCKET}, 1
    FROM metrics
   WHERE NOT {is_all(JOB)}
     AND executions = 1
     AND {IS_ONE_OF_THE_JOBS}
     AND {within("created_at")}
     AND {IS_CHOSEN}
)"""
"""The step with the histogram of latency: ``at``, the names, ``bucket`` and ``executions``."""


def added_up(key: str) -> str:
    """The step that adds up the buckets of LATENCY for each key: executions until here, and in all."""
    return f"""added AS (
  SELECT key, bucket,
         sum(executions) OVER (PARTITION BY key ORDER BY bucket) AS until_here,
         sum(executions) OVER (PARTITION BY key) AS in_all
    FROM (SELECT {key} AS key, bucket, sum(executions) AS executions FROM latency GROUP BY 1, 2) AS histogram
)"""


def milliseconds(bucket: str) -> str:
    """The middle of a bucket of latency, at most 5 % from all that it holds."""
    return f"power(float8 '{BUCKET_BASE}', {bucket}) * 2 / {1 + BUCKET_BASE}"


def percentile(percent: int) -> str:
    """The latency that so many percent of the executions do not exceed, over the rows of a key of ``added``."""
    return milliseconds(f"min(bucket) FILTER (WHERE until_here * 100 >= in_all * {percent})")


JOBS = f"""jobs AS (
  SELECT job_id, executions, token_count, unpriced_tokens, cost_estimate, wasted_cost, wasted_unpriced_tokens, last_at
    FROM metrics_jobs
   WHERE {NOTHING_CHOSEN}
     AND {IS_CHOSEN_JOB}
     AND last_at >= {BEGIN}
     AND first_at < {END}
  UNION ALL
  SELECT job_id, sum(part.executions), sum(part.token_count), sum(part.unpriced_tokens), sum(part.cost_estimate),
         sum(part.wasted_cost), sum(part.wasted_unpriced_tokens), max(part.last_at)
    FROM metrics_jobs AS job JOIN metrics_job AS part USING (job_id)
   WHERE NOT ({NOTHING_CHOSEN})
     AND {IS_CHOSEN_JOB}
     AND job.last_at >= {BEGIN}
     AND part.last_at >= {BEGIN}
     AND part.first_at < {END}
     AND {IS_CHOSEN}
   GROUP BY job_id
)"""
"""The step with the jobs that ran in the time range, and what they came to in their whole life."""

LAST_DAY = f"""created_at >= CASE WHEN {is_all(JOB)} THEN greatest({BEGIN}, {END} - interval '1 day') ELSE {BEGIN} END
     AND created_at < {END}
     AND {IS_CHOSEN_JOB}
     AND {IS_CHOSEN}"""
"""Rows of the last day of the time range, or of some jobs in all of it: what no sums know is not read for months."""
