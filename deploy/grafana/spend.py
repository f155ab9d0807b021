"""The row about money: what was spent, on what, how much of it is known, and what budgets say."""

from __future__ import annotations

from aurea_celery.storage.rollups import start_of_period
from deploy.grafana.panels import UNPRICED_SERIES, Row, bars, pie, stat, table
from deploy.grafana.sql import (
    BEGIN,
    COST_PER_THOUSAND,
    END,
    IS_CHOSEN,
    JOB,
    JOBS,
    KNOWN_COST,
    POINT_OR_0,
    PRICED_SHARE,
    WASTED_COST,
    is_all,
    known,
    spent,
    within,
)

NOT_PRICED = "Tokens without a price are not in it; Unpriced tokens says how many. A dash: nothing of it is known."
NAMED_JOBS = 10

TOTALS = f"""
WITH {spent()}
SELECT coalesce(sum(executions), 0) AS "Executions", coalesce(sum(token_count), 0) AS "Tokens",
       coalesce({KNOWN_COST}, CASE WHEN count(*) = 0 THEN 0 END) AS "Cost",
       coalesce(sum(unpriced_tokens), 0) AS "Unpriced tokens",
       {PRICED_SHARE} AS "Priced share"
  FROM spent
"""

RATE = f"""
WITH {spent(f"{BEGIN} - ({END} - {BEGIN})")},
rate AS (
  SELECT sum(cost_estimate) FILTER (WHERE at >= {BEGIN}) AS cost,
         sum(cost_estimate) FILTER (WHERE at < {BEGIN}) AS cost_before,
         sum(token_count) FILTER (WHERE at >= {BEGIN}) AS tokens,
         sum(unpriced_tokens) FILTER (WHERE at >= {BEGIN}) AS unpriced,
         nullif(greatest(extract(epoch FROM least({END}, now()) - {BEGIN}), 0), 0)::numeric / 3600 AS hours
    FROM spent
),
known AS (
  SELECT {known("cost", "unpriced")} AS cost, cost_before, tokens, unpriced, hours FROM rate
)
SELECT cost / hours AS "Cost per hour", cost / hours * 24 * 30 AS "30 days at this rate",
       cost / nullif(cost_before, 0) - 1 AS "Change", trunc(1 - unpriced / nullif(tokens, 0), 6) AS "Priced share"
  FROM known
"""

ACTIVE_JOBS = f"""
WITH {JOBS}
SELECT count(*) AS "Active jobs" FROM jobs
"""

# What the named jobs took is taken off the sums of all, so that the bars add up to the total.
COST_BY_JOB = f"""
WITH {JOBS},
dearest AS (
  SELECT job_id FROM jobs ORDER BY cost_estimate DESC, job_id LIMIT {NAMED_JOBS}
),
named AS (
  SELECT created_at AS at, job_id, cost_estimate
    FROM metrics
   WHERE job_id = ANY (ARRAY(SELECT job_id FROM dearest))
     AND {within("created_at")}
     AND {IS_CHOSEN}
),
parts AS (
  SELECT at, job_id AS metric, cost_estimate FROM named
  UNION ALL
  SELECT at, 'all others', -cost_estimate FROM named
   WHERE {is_all(JOB)} AND (SELECT count(*) FROM jobs) > {NAMED_JOBS}
  UNION ALL
  SELECT quarter_at, 'all others', cost_estimate
    FROM metrics_15m
   WHERE {is_all(JOB)} AND (SELECT count(*) FROM jobs) > {NAMED_JOBS}
     AND {within("quarter_at")}
     AND {IS_CHOSEN}
)
SELECT {POINT_OR_0}, metric, sum(cost_estimate) AS value
  FROM parts
 GROUP BY 1, 2
 ORDER BY 1, 2
"""


def unpriced_over_time(condition: str = "true") -> str:
    """The tokens without a price, where there are any; beside a cost over time."""
    return f"""
WITH {spent()}
SELECT $__timeGroupAlias(at, $__interval), sum(unpriced_tokens) AS "{UNPRICED_SERIES}"
  FROM spent
 WHERE unpriced_tokens > 0 AND {condition}
 GROUP BY 1
 ORDER BY 1
"""


COST_BY_MODEL = f"""
WITH {spent()}
SELECT model_used AS "Model", sum(calls) AS "Calls", sum(token_count) AS "Tokens",
       {KNOWN_COST} AS "Cost",
       {KNOWN_COST} / nullif(sum(sum(cost_estimate)) OVER (), 0) AS "Share of cost",
       {COST_PER_THOUSAND} AS "Per 1,000 tokens",
       sum(unpriced_tokens) AS "Unpriced tokens", {PRICED_SHARE} AS "Priced share"
  FROM spent
 WHERE model_used <> 'none'
 GROUP BY 1
 ORDER BY 4 DESC NULLS LAST, 3 DESC, 1
 LIMIT 50
"""

TOKENS_BY_MODEL = f"""
WITH {spent()}, models AS (
  SELECT model_used, sum(token_count) AS tokens, row_number() OVER (ORDER BY sum(token_count) DESC, model_used) AS place
    FROM spent
   WHERE token_count > 0
   GROUP BY 1
)
SELECT CASE WHEN place <= 12 THEN model_used ELSE 'all others' END AS "Model", sum(tokens) AS "Tokens"
  FROM models
 GROUP BY 1
 ORDER BY min(place)
"""

DEAREST_JOBS = f"""
WITH {JOBS}
SELECT job_id AS "Job", executions AS "Executions", token_count AS "Tokens",
       {known("cost_estimate", "unpriced_tokens")} AS "Cost",
       {known("wasted_cost", "wasted_unpriced_tokens")} AS "Wasted cost", unpriced_tokens AS "Unpriced tokens",
       trunc(1 - unpriced_tokens / nullif(token_count, 0)::numeric, 6) AS "Priced share", last_at AS "Last update"
  FROM jobs
 ORDER BY cost_estimate DESC, job_id
 LIMIT 50
"""

COST_BY_TASK = f"""
WITH {spent()}
SELECT task_name AS "Task", sum(executions) AS "Executions", sum(token_count) AS "Tokens",
       {KNOWN_COST} AS "Cost",
       {KNOWN_COST} / nullif(sum(executions), 0) AS "Cost per execution",
       {COST_PER_THOUSAND} AS "Per 1,000 tokens",
       {WASTED_COST} AS "Wasted cost",
       sum(unpriced_tokens) AS "Unpriced tokens", {PRICED_SHARE} AS "Priced share"
  FROM spent
 GROUP BY 1
 ORDER BY 4 DESC NULLS LAST, 2 DESC, 1
 LIMIT 50
"""

TOKENS_BY_KIND = f"""
WITH {spent()}
SELECT {POINT_OR_0}, sum(input_tokens) AS "input", sum(output_tokens) AS "output",
       sum(token_count - input_tokens - output_tokens) AS "not told apart"
  FROM spent
 GROUP BY 1
 ORDER BY 1
"""

UNPRICED = f"""
WITH {spent()}
SELECT model_used AS "Model", sum(calls) AS "Calls", sum(unpriced_tokens) AS "Unpriced tokens"
  FROM spent
 WHERE unpriced_tokens > 0
 GROUP BY 1
 ORDER BY 3 DESC, 1
 LIMIT 50
"""

BUDGETS = f"""
WITH current AS (
  SELECT *, {start_of_period("now()")} AS period_at FROM budgets
)
SELECT coalesce(nullif(job, ''), 'all jobs') AS "Budget of", coalesce(nullif(task, ''), 'all tasks') AS "Of task",
       period AS "Per", usd AS "Budget", coalesce(sum(spent_usd), 0) AS "Spent",
       coalesce(max(spent_usd), 0) / nullif(usd, 0) AS "Used", count(spend) AS "Jobs",
       count(spend) FILTER (WHERE spent_usd >= usd) AS "Jobs used up", on_exceed AS "When used up",
       coalesce(sum(unpriced_tokens), 0) AS "Unpriced tokens",
       trunc(1 - sum(unpriced_tokens) / nullif(sum(token_count), 0), 6) AS "Priced share"
  FROM current LEFT JOIN budget_spend AS spend USING (budget_id, period_at)
 GROUP BY budget_id, job, task, period, usd, on_exceed
 ORDER BY 6 DESC NULLS LAST, 1, 2, 3
 LIMIT 100
"""

ROW = Row(
    "Spend",
    [
        stat(
            "Total Metrics",
            f"Executions, tokens and cost of the time range. {NOT_PRICED}",
            TOTALS,
            columns=("Executions", "Tokens", "Cost", "Unpriced tokens", "Priced share"),
            width=11,
        ),
        stat(
            "Active Jobs",
            "Jobs of which something ran in the time range.",
            ACTIVE_JOBS,
            columns=("Active jobs",),
            width=3,
        ),
        stat(
            "Spend Rate",
            "Cost per hour that has passed of the time range, what 30 days would cost at this rate, and the change"
            " against the period of the same length just before: of the tokens that have a price, the share beside it.",
            RATE,
            columns=("Cost per hour", "30 days at this rate", "Change", "Priced share"),
            width=10,
        ),
        bars(
            "Total Cost by Job",
            f"The {NAMED_JOBS} jobs of the time range that cost most in their whole life, and all others together."
            " The dashed line is tokens without a price, which no bar has in it.",
            COST_BY_JOB,
            unpriced_over_time(),
            unit="currencyUSD",
            width=16,
            height=9,
        ),
        pie("Token Usage by Model", "Tokens of the time range.", TOKENS_BY_MODEL, unit="short", width=8),
        table(
            "Cost Breakdown by Model",
            f"The most expensive models. {NOT_PRICED} The price per 1,000 tokens is of those that have one.",
            COST_BY_MODEL,
            columns=(
                "Model",
                "Calls",
                "Tokens",
                "Cost",
                "Share of cost",
                "Per 1,000 tokens",
                "Unpriced tokens",
                "Priced share",
            ),
            width=12,
        ),
        table(
            "Cost by Task",
            f"The most expensive tasks; wasted is what came to no success. {NOT_PRICED}",
            COST_BY_TASK,
            columns=(
                "Task",
                "Executions",
                "Tokens",
                "Cost",
                "Cost per execution",
                "Per 1,000 tokens",
                "Wasted cost",
                "Unpriced tokens",
                "Priced share",
            ),
            width=12,
        ),
        table(
            "Most Expensive Jobs",
            f"Jobs of which something ran in the time range, and what they cost in their whole life. {NOT_PRICED}"
            " A job's name leads to the dashboard of that job alone.",
            DEAREST_JOBS,
            columns=(
                "Job",
                "Executions",
                "Tokens",
                "Cost",
                "Wasted cost",
                "Unpriced tokens",
                "Priced share",
                "Last update",
            ),
            width=12,
        ),
        bars(
            "Input and Output Tokens",
            "Tokens that went into models and came out of them; of some usage only the total is known.",
            TOKENS_BY_KIND,
            unit="short",
            width=12,
        ),
        table(
            "Budgets",
            "What was spent of each budget in the period that runs now, whatever the time range is. Used is that of the"
            f" job which has used most, where each job has its own. {NOT_PRICED}",
            BUDGETS,
            columns=(
                "Budget of",
                "Of task",
                "Per",
                "Budget",
                "Spent",
                "Used",
                "Jobs",
                "Jobs used up",
                "When used up",
                "Unpriced tokens",
                "Priced share",
            ),
            width=17,
            height=6,
        ),
        table(
            "Unpriced Usage",
            "Models that nobody knows a price for. Say what they cost with aurea prices set, and count what was spent"
            " already with aurea reprice.",
            UNPRICED,
            columns=("Model", "Calls", "Unpriced tokens"),
            width=7,
            height=6,
        ),
    ],
)
