"""The row about time: how long executions take, how many there are, and how long they wait."""

from __future__ import annotations

from deploy.grafana.panels import STATUS_COLORS, Row, bars, histogram, lines, table, wide_lines
from deploy.grafana.sql import (
    LAST_DAY,
    LATENCY,
    POINT,
    POINT_OR_0,
    added_up,
    percentile,
    spent,
)

NAMED_TASKS = 10
WITHIN = "Right within 5 %."
LAST_BIN = 21  # from 35 to 70 minutes, and what takes longer

AVERAGE_BY_TASK = f"""
WITH {spent()}, busiest AS (
  SELECT task_name FROM spent GROUP BY 1 ORDER BY sum(executions) DESC, 1 LIMIT {NAMED_TASKS}
)
SELECT {POINT}, task_name AS metric, sum(latency_ms) / sum(executions) AS value
  FROM spent
 WHERE executions > 0 AND task_name IN (SELECT task_name FROM busiest)
 GROUP BY 1, 2
 ORDER BY 1, 2
"""

PERCENTILES = f"""
WITH {LATENCY},
{added_up("$__timeGroup(at, $__interval)")}
SELECT key AS "time", {percentile(50)} AS "p50", {percentile(95)} AS "p95", {percentile(99)} AS "p99"
  FROM added
 GROUP BY 1
 ORDER BY 1
"""

LATENCY_BY_MODEL = f"""
WITH {LATENCY},
{added_up("model_used")}
SELECT key AS "Model", max(in_all) AS "Executions",
       {percentile(50)} AS "p50", {percentile(95)} AS "p95", {percentile(99)} AS "p99"
  FROM added
 GROUP BY 1
 ORDER BY 2 DESC, 1
 LIMIT 50
"""

# The middles of the buckets, sorted into powers of two: bin n holds what took from 2^n to 2^(n+1) ms.
DISTRIBUTION = f"""
WITH {LATENCY},
counted AS (
  SELECT least(greatest(floor(bucket * log(2, 1.1) + log(2, 2 / 2.1)), 0), {LAST_BIN})::int AS bin,
         sum(executions) AS executions
    FROM latency
   GROUP BY 1
)
SELECT power(2, bin) AS "xMin", power(2, bin + 1) AS "xMax", coalesce(executions, 0) AS "Executions"
  FROM generate_series(
         (SELECT greatest(min(bin) - 1, 0) FROM counted), (SELECT least(max(bin) + 1, {LAST_BIN}) FROM counted)
       ) AS bin
  LEFT JOIN counted USING (bin)
 ORDER BY 1
"""

THROUGHPUT = f"""
WITH {spent()}
SELECT {POINT_OR_0}, status AS metric, sum(executions) AS value
  FROM spent
 GROUP BY 1, 2
 ORDER BY 1, 2
"""

QUEUE_WAIT = f"""
SELECT $__timeGroupAlias(created_at, $__interval),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY broker_wait_ms::float8) AS "in the broker, p50",
       percentile_cont(0.95) WITHIN GROUP (ORDER BY broker_wait_ms::float8) AS "in the broker, p95",
       percentile_cont(0.95) WITHIN GROUP (ORDER BY prefetch_wait_ms::float8) AS "prefetched, p95"
  FROM metrics
 WHERE executions = 1 AND NOT clock_skewed
     AND {LAST_DAY}
 GROUP BY 1
 ORDER BY 1
"""

ROW = Row(
    "Speed",
    [
        wide_lines(
            "Average Latency by Task",
            f"The mean time an execution takes, of the {NAMED_TASKS} tasks that ran most often.",
            AVERAGE_BY_TASK,
            unit="ms",
            width=12,
        ),
        wide_lines(
            "Latency Percentiles",
            f"The time that 50, 95 and 99 % of the executions do not exceed. {WITHIN}",
            PERCENTILES,
            unit="ms",
            width=12,
        ),
        histogram(
            "Latency Distribution",
            "Executions by the time they take; each bar is twice as wide as the one before, and the last has what takes"
            f" longer too. {WITHIN}",
            DISTRIBUTION,
            width=8,
        ),
        table(
            "Latency by Model",
            "The time that 50, 95 and 99 % of the executions do not exceed. An execution's latency goes with its first"
            f" model. {WITHIN}",
            LATENCY_BY_MODEL,
            columns=("Model", "Executions", "p50", "p95", "p99"),
            width=8,
        ),
        lines(
            "Queue Wait",
            "How long executions waited in the broker, and then prefetched in a worker: of the last day of the time"
            " range, or of the jobs that are chosen. Executions whose clocks disagree are left out.",
            QUEUE_WAIT,
            unit="ms",
            width=8,
        ),
        bars(
            "Throughput",
            "Executions by the way they ended.",
            THROUGHPUT,
            unit="locale",
            colors=STATUS_COLORS,
            width=24,
            height=7,
        ),
    ],
)
