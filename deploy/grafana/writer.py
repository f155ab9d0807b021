"""The rows about executions one by one, and about the way they take into the database."""

from __future__ import annotations

from deploy.grafana.panels import Row, stat, table
from deploy.grafana.sql import IS_CHOSEN, IS_CHOSEN_JOB

TIMELINE = f"""
SELECT created_at AS "Time", job_id AS "Job", task_name AS "Task", model_used AS "Model", status AS "Status",
       attempt AS "Attempt", token_count AS "Tokens", CASE WHEN executions = 1 THEN latency_ms END AS "Latency",
       CASE WHEN cost_status IN ('priced', 'free') THEN cost_estimate END AS "Cost",
       CASE WHEN token_count = 0 THEN '' WHEN unpriced_tokens = 0 THEN 'yes'
            WHEN unpriced_tokens < token_count THEN 'in part' ELSE 'no' END AS "Cost known",
       unpriced_tokens AS "Unpriced tokens", error_type AS "Error"
  FROM metrics
 WHERE $__timeFilter(created_at)
     AND {IS_CHOSEN_JOB}
     AND {IS_CHOSEN}
 ORDER BY created_at DESC, event_id DESC, seq DESC
 LIMIT 200
"""

TIMELINE_ROW = Row(
    "Executions",
    [
        table(
            "Task Execution Timeline",
            "The last 200 rows of the time range, one for each execution and model. A job's name leads to the dashboard"
            " of that job alone. No cost: nobody knows a price, or no tokens were used.",
            TIMELINE,
            columns=(
                "Time",
                "Job",
                "Task",
                "Model",
                "Status",
                "Attempt",
                "Tokens",
                "Latency",
                "Cost",
                "Cost known",
                "Unpriced tokens",
                "Error",
            ),
            width=24,
            height=11,
        ),
    ],
)

PULSE = """
SELECT extract(epoch FROM now() - max(last_seen_at) FILTER (WHERE through = 'queue')) AS "Since last write",
       coalesce(sum(captured - written - rejected - lost) FILTER (WHERE open_since IS NOT NULL), 0)
           AS "Not written yet",
       extract(epoch FROM now() - min(open_since)) AS "Oldest not written", coalesce(sum(written), 0) AS "Written",
       coalesce(sum(rejected), 0) AS "Rejected", coalesce(sum(lost), 0) AS "Dropped"
  FROM metrics_sources
"""

REJECTED = """
SELECT rejected_at AS "Time", reason AS "Reason"
  FROM metrics_rejected
 WHERE $__timeFilter(rejected_at)
 ORDER BY rejected_at DESC, id DESC
 LIMIT 100
"""

PROCESSES = """
SELECT host AS "Host", pid::text AS "Process", captured AS "Captured", written AS "Written", rejected AS "Rejected",
       lost AS "Dropped", greatest(captured - written - rejected - lost, 0) AS "Not written yet",
       last_seen_at AS "Last seen"
  FROM metrics_sources
 WHERE open_since IS NOT NULL OR lost > 0 OR rejected > 0
 ORDER BY last_seen_at DESC, host, pid
 LIMIT 100
"""

WRITER_ROW = Row(
    "Writer health",
    [
        stat(
            "Writer",
            "When a writer last wrote, whatever the time range is; what processes have captured and is not written, as"
            " far as the database knows, and for how long; and what became of it all. aurea check says more.",
            PULSE,
            columns=("Since last write", "Not written yet", "Oldest not written", "Written", "Rejected", "Dropped"),
            width=24,
        ),
        table(
            "Processes With Something Missing",
            "Processes of which something is not written, was rejected or dropped, whatever the time range is.",
            PROCESSES,
            columns=("Host", "Process", "Captured", "Written", "Rejected", "Dropped", "Not written yet", "Last seen"),
            width=12,
        ),
        table(
            "Rejected",
            "What could not be written in the time range, and why. The table metrics_rejected has the rest.",
            REJECTED,
            columns=("Time", "Reason"),
            width=12,
        ),
    ],
)
