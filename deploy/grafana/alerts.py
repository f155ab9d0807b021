"""The alert rules, as Grafana provisions them.

A rule's query knows no variables, and needs no macros: its time is ``now()``. It returns one number, which fires the
rule above a threshold, and texts, which are the labels of one alert each. Where there is nothing to say it has no row.
"""

from __future__ import annotations

from typing import NamedTuple

import yaml

from aurea_celery.storage.pulse import BEHIND_SECONDS
from aurea_celery.storage.rollups import start_of_period
from deploy.grafana.dashboard import DATASOURCE_UID, UID, dashboard
from deploy.grafana.panels import JsonObject
from deploy.grafana.sql import HAS_FAILED, added_up, percentile

HEADER = """\
# Alert rules of aurea-celery, described in docs/grafana.md. Made by `python -m deploy.grafana` from alerts.py.
#
# WHERE ALERTS GO IS YOURS TO SAY: no contact point is set here, so they go where your default notification policy sends
# alerts (Alerting > Notification policies). Every rule has the label `source: aurea-celery` to route by.
#
# The threshold of a rule is the number below `params:`. Provisioned rules cannot be changed in Grafana's pages; change
# them here, or copy a rule there. The queries read the data source with the uid `aurea-postgres`.
"""

FEW_EXECUTIONS = 20
"""A share or percentile of fewer executions says nothing."""

FEW_USD = 1
"""Spending that is not worth waking up for, however much it has grown."""


class Rule(NamedTuple):
    """A rule: fires while the query's number is above the threshold, for so long; ``panel`` shows what it is about."""

    uid: str
    title: str
    sql: str
    threshold: float
    lasts: str
    severity: str
    panel: str
    summary: str
    description: str


SPEND_AGAINST_YESTERDAY = f"""
SELECT sum(cost_estimate) FILTER (WHERE quarter_at >= now() - interval '1 day')
       / sum(cost_estimate) FILTER (WHERE quarter_at < now() - interval '1 day') AS times
  FROM metrics_15m
 WHERE quarter_at >= now() - interval '2 days'
HAVING sum(cost_estimate) FILTER (WHERE quarter_at >= now() - interval '1 day') >= {FEW_USD}
   AND sum(cost_estimate) FILTER (WHERE quarter_at < now() - interval '1 day') > 0
"""

BUDGET_USED = f"""
WITH current AS (
  SELECT *, {start_of_period("now()")} AS period_at FROM budgets
)
SELECT budget_id::text AS budget, coalesce(nullif(job, ''), 'all jobs') AS job,
       coalesce(nullif(task, ''), 'all tasks') AS task, period, coalesce(max(spent_usd) / nullif(usd, 0), 1) AS used
  FROM current JOIN budget_spend USING (budget_id, period_at)
 GROUP BY budget_id, job, task, period, usd
"""

FAILURE_SHARE = f"""
SELECT task_name AS task, coalesce(sum(executions) FILTER (WHERE {HAS_FAILED}), 0) / sum(executions) AS share
  FROM metrics_15m
 WHERE quarter_at >= now() - interval '1 hour'
 GROUP BY 1
HAVING sum(executions) >= {FEW_EXECUTIONS}
"""

SLOW_TASK = f"""
WITH latency AS (
  SELECT task_name, bucket, executions FROM metrics_latency_15m WHERE quarter_at >= now() - interval '1 hour'
),
{added_up("task_name")}
SELECT key AS task, {percentile(95)} AS p95_ms
  FROM added
 GROUP BY 1
HAVING max(in_all) >= {FEW_EXECUTIONS}
"""

UNPRICED = """
SELECT model_used AS model, sum(unpriced_tokens) AS tokens
  FROM metrics_15m
 WHERE quarter_at >= now() - interval '1 day' AND unpriced_tokens > 0
 GROUP BY 1
"""

BACKLOG = """
SELECT extract(epoch FROM now() - min(open_since)) AS seconds
  FROM metrics_sources
HAVING min(open_since) IS NOT NULL
"""

SILENCE = """
SELECT extract(epoch FROM now() - max(last_seen_at) FILTER (WHERE through = 'queue')) AS seconds
  FROM metrics_sources
HAVING max(last_seen_at) FILTER (WHERE through = 'queue') IS NOT NULL
   AND bool_or(open_since IS NOT NULL)
"""

NOTHING_WRITTEN = """
SELECT extract(epoch FROM now() - max(last_seen_at)) AS seconds
  FROM metrics_sources
 WHERE through = 'queue'
HAVING max(last_seen_at) IS NOT NULL
"""

REJECTED = """
SELECT count(*) AS rejected
  FROM metrics_rejected
 WHERE rejected_at >= now() - interval '1 hour'
HAVING count(*) > 0
"""

DROPPED = """
SELECT host, sum(lost) AS dropped
  FROM metrics_sources
 WHERE lost > 0 AND last_seen_at >= now() - interval '1 hour'
 GROUP BY 1
"""

RULES = [
    Rule(
        "aurea-spend-yesterday",
        "Spend has doubled since yesterday",
        SPEND_AGAINST_YESTERDAY,
        2,
        "5m",
        "warning",
        "Spend Rate",
        "The last 24 hours cost {{ humanize $values.A.Value }} times as much as the 24 hours before.",
        f"Only of days that cost {FEW_USD} USD at least. Most Expensive Jobs and Cost by Task show where it went.",
    ),
    Rule(
        "aurea-budget",
        "A budget is nearly used up",
        BUDGET_USED,
        0.9,
        "0s",
        "warning",
        "Budgets",
        "{{ humanizePercentage $values.A.Value }} of the budget of {{ $labels.job }} per {{ $labels.period }} is used.",
        "Of the job which has used most, where each job has its own budget. See aurea budget list.",
    ),
    Rule(
        "aurea-failures",
        "A task fails often",
        FAILURE_SHARE,
        0.1,
        "5m",
        "warning",
        "Top Failing Tasks",
        "{{ humanizePercentage $values.A.Value }} of the executions of {{ $labels.task }} failed in the last hour.",
        f"Of tasks with {FEW_EXECUTIONS} executions at least. Top Exceptions says what they end with.",
    ),
    Rule(
        "aurea-latency",
        "A task is slow",
        SLOW_TASK,
        60_000,
        "10m",
        "warning",
        "Average Latency by Task",
        "5 % of the executions of {{ $labels.task }} take more than {{ humanize $values.A.Value }} ms.",
        f"Of tasks with {FEW_EXECUTIONS} executions in the last hour. The threshold is a minute: set your own.",
    ),
    Rule(
        "aurea-unpriced",
        "Usage without a price",
        UNPRICED,
        0,
        "5m",
        "warning",
        "Unpriced Usage",
        "{{ humanize $values.A.Value }} tokens of {{ $labels.model }} in the last day have no price.",
        "Say what it costs with aurea prices set, and count what was spent already with aurea reprice.",
    ),
    Rule(
        "aurea-backlog",
        "Executions are not written",
        BACKLOG,
        BEHIND_SECONDS,
        "1m",
        "critical",
        "Processes With Something Missing",
        "Something that was captured {{ humanizeDuration $values.A.Value }} ago is not written.",
        "The writers are behind, or events are missing: aurea check says which.",
    ),
    Rule(
        "aurea-silence",
        "Nobody is writing",
        SILENCE,
        600,
        "1m",
        "critical",
        "Writer",
        "The last write was {{ humanizeDuration $values.A.Value }} ago, and something waits.",
        "Start a writer: celery -A yourapp aurea writer.",
    ),
    Rule(
        "aurea-nothing-written",
        "Nothing was written for a day",
        NOTHING_WRITTEN,
        86_400,
        "5m",
        "warning",
        "Writer",
        "The last write was {{ humanizeDuration $values.A.Value }} ago.",
        "All is well if there was nothing to write, which the database cannot know. Pause it if workers rest for days.",
    ),
    Rule(
        "aurea-rejected",
        "Events were rejected",
        REJECTED,
        0,
        "0s",
        "critical",
        "Rejected",
        "{{ humanize $values.A.Value }} events or messages could not be written in the last hour.",
        "The table metrics_rejected has each, and the reason.",
    ),
    Rule(
        "aurea-dropped",
        "Executions were dropped",
        DROPPED,
        0,
        "0s",
        "critical",
        "Processes With Something Missing",
        "{{ humanize $values.A.Value }} executions were dropped on {{ $labels.host }}.",
        "aurea check says why.",
    ),
]


def alerts_file() -> str:
    """The content of ``provisioning/alerting/aurea.yaml``."""
    panels = {panel["title"]: panel["id"] for panel in dashboard()["panels"]}
    group = {
        "orgId": 1,
        "name": "aurea-celery",
        "folder": "Aurea",
        "interval": "1m",
        "rules": [_rule(rule, panels[rule.panel]) for rule in RULES],
    }
    text = yaml.dump(
        {"apiVersion": 1, "groups": [group]}, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True
    )
    return HEADER + str(text)


def _rule(rule: Rule, panel_id: int) -> JsonObject:
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "B",
        "data": [_asked(rule.sql), _above(rule.threshold)],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.lasts,
        "dashboardUid": UID,
        "panelId": panel_id,
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "__dashboardUid__": UID,
            "__panelId__": str(panel_id),
        },
        "labels": {"source": "aurea-celery", "severity": rule.severity},
        "isPaused": False,
    }


def _asked(sql: str) -> JsonObject:
    model = {"refId": "A", "editorMode": "code", "format": "table", "rawQuery": True, "rawSql": sql.strip() + "\n"}
    # Grafana wants a range, though the query has its own.
    return {
        "refId": "A",
        "relativeTimeRange": {"from": 3600, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": model,
    }


def _above(threshold: float) -> JsonObject:
    evaluator = {"type": "gt", "params": [threshold]}
    model = {"refId": "B", "type": "threshold", "expression": "A", "conditions": [{"evaluator": evaluator}]}
    return {"refId": "B", "datasourceUid": "__expr__", "model": model}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stay so."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
