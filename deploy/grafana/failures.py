"""The row about what went wrong, and what it cost."""

from __future__ import annotations

from deploy.grafana.panels import STATUS_COLORS, Row, bars, lines, stat, table
from deploy.grafana.spend import NOT_PRICED, unpriced_over_time
from deploy.grafana.sql import (
    HAS_FAILED,
    IS_WASTED,
    LAST_DAY,
    POINT,
    POINT_OR_0,
    WASTED_COST,
    WASTED_UNPRICED,
    spent,
)

FAILED = f"coalesce(sum(executions) FILTER (WHERE {HAS_FAILED}), 0)"
RETRIED = "coalesce(sum(executions) FILTER (WHERE status = 'retry'), 0)"
WHAT_FAILED = "Failed is what ended as failure, timeout, lost or rejected."

ENDINGS = f"""
WITH {spent()}
SELECT sum(executions) FILTER (WHERE status = 'success') / nullif(sum(executions), 0) AS "Success",
       {FAILED} / nullif(sum(executions), 0) AS "Failure share", {FAILED} AS "Failed", {RETRIED} AS "Retried",
       {WASTED_COST} AS "Wasted cost", {WASTED_UNPRICED} AS "Wasted unpriced tokens"
  FROM spent
"""

FAILURE_SHARE = f"""
WITH {spent()}
SELECT {POINT}, {FAILED} / sum(executions) AS "failed", {RETRIED} / sum(executions) AS "retried"
  FROM spent
 WHERE executions > 0
 GROUP BY 1
 ORDER BY 1
"""

WASTE = f"""
WITH {spent()}
SELECT {POINT_OR_0}, status AS metric, sum(cost_estimate) AS value
  FROM spent
 WHERE {IS_WASTED}
 GROUP BY 1, 2
 ORDER BY 1, 2
"""

FAILING_TASKS = f"""
WITH {spent()}
SELECT task_name AS "Task", sum(executions) AS "Executions", {FAILED} AS "Failed", {RETRIED} AS "Retried",
       {FAILED} / nullif(sum(executions), 0) AS "Failure share", {WASTED_COST} AS "Wasted cost",
       {WASTED_UNPRICED} AS "Wasted unpriced tokens"
  FROM spent
 GROUP BY 1
HAVING {FAILED} + {RETRIED} > 0
 ORDER BY 3 DESC, 4 DESC, 1
 LIMIT 50
"""

ERRORS = f"""
SELECT coalesce(error_type, '(' || status || ')') AS "Error", task_name AS "Task", status AS "Status",
       count(*) AS "Executions", max(created_at) AS "Last seen"
  FROM metrics
 WHERE executions = 1 AND {IS_WASTED}
     AND {LAST_DAY}
 GROUP BY 1, 2, 3
 ORDER BY 4 DESC, 5 DESC
 LIMIT 50
"""

ROW = Row(
    "Failures and waste",
    [
        stat(
            "Success and Failure",
            f"{WHAT_FAILED} Wasted cost is that of all that came to no success, retried attempts too; Wasted unpriced"
            " tokens are those of them that have no price.",
            ENDINGS,
            columns=("Success", "Failure share", "Failed", "Retried", "Wasted cost", "Wasted unpriced tokens"),
            width=24,
        ),
        lines(
            "Failure Share",
            f"The share of executions that failed, and that were retried. {WHAT_FAILED}",
            FAILURE_SHARE,
            unit="percentunit",
            colors={"failed": STATUS_COLORS["failure"], "retried": STATUS_COLORS["retry"]},
            width=12,
        ),
        bars(
            "Cost of Retries and Failures",
            "What executions cost that came to no success, by the way they ended. The dashed line is their tokens"
            " without a price, which no bar has in it.",
            WASTE,
            unpriced_over_time(IS_WASTED),
            unit="currencyUSD",
            colors=STATUS_COLORS,
            width=12,
        ),
        table(
            "Top Failing Tasks",
            f"{WHAT_FAILED} {NOT_PRICED.replace('Unpriced', 'Wasted unpriced')}",
            FAILING_TASKS,
            columns=(
                "Task",
                "Executions",
                "Failed",
                "Retried",
                "Failure share",
                "Wasted cost",
                "Wasted unpriced tokens",
            ),
            width=12,
        ),
        table(
            "Top Exceptions",
            "What executions ended with that came to no success: the class of the exception, or the way they ended."
            " Of the last day of the time range, or of the jobs that are chosen.",
            ERRORS,
            columns=("Error", "Task", "Status", "Executions", "Last seen"),
            width=12,
        ),
    ],
)
