"""The dashboard: variables, annotations and rows, as one file that can be provisioned and imported alike."""

from __future__ import annotations

from aurea_celery.events import STATUSES
from deploy.grafana import failures, speed, spend, writer
from deploy.grafana.panels import DATASOURCE, JsonObject, placed
from deploy.grafana.sql import ALL, within

UID = "aurea-celery"
DATASOURCE_UID = "aurea-postgres"
"""The data source that is chosen at first, if there is one of this uid."""

MOST_OPTIONS = 500

JOB_OPTIONS = f"""
SELECT job_id FROM metrics_jobs
 WHERE last_at >= $__timeFrom()::timestamptz AND first_at <= $__timeTo()::timestamptz
 ORDER BY last_at DESC, job_id LIMIT {MOST_OPTIONS}
"""


def _options(column: str) -> str:
    return f"""
SELECT {column} FROM metrics_15m
 WHERE {within("quarter_at")}
 GROUP BY 1 ORDER BY max(quarter_at) DESC, 1 LIMIT {MOST_OPTIONS}
"""


PRICE_CHANGES = """
SELECT effective_from AS "time", 'Own price of ' || model AS text
  FROM model_prices
 WHERE $__timeFilter(effective_from)
 ORDER BY 1 LIMIT 100
"""


def _datasource() -> JsonObject:
    return {
        "name": "datasource",
        "label": "Data source",
        "description": "The PostgreSQL that has the tables of aurea-celery.",
        "type": "datasource",
        "query": DATASOURCE["type"],
        "current": {"selected": True, "text": DATASOURCE_UID, "value": DATASOURCE_UID},
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "skipUrlSync": False,
    }


def _choice(name: str, label: str, description: str) -> JsonObject:
    """A variable with All and any number of values; others than those of the list can be typed in."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "allValue": ALL,
        "includeAll": True,
        "multi": True,
        "allowCustomValue": True,
        "hide": 0,
        "options": [],
        "skipUrlSync": False,
    }


def _query(name: str, label: str, description: str, sql: str) -> JsonObject:
    asked = {
        "type": "query",
        "datasource": DATASOURCE,
        "query": sql.strip(),
        "definition": sql.strip(),
        "refresh": 2,
        "regex": "",
        "sort": 0,
    }
    return _choice(name, label, description) | asked


def _variables() -> list[JsonObject]:
    recent = f"Those of the time range, the {MOST_OPTIONS} most recent ones; any other can be typed in."
    status = _choice("status", "Status", "How executions ended.")
    return [
        _datasource(),
        _query("job", "Job", recent, JOB_OPTIONS),
        _query("task", "Task", recent, _options("task_name")),
        _query("model", "Model", recent, _options("model_used")),
        status | {"type": "custom", "query": ",".join(STATUSES)},
    ]


def _annotations() -> list[JsonObject]:
    built_in = {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    target = {"refId": "Annotation", "editorMode": "code", "format": "table", "rawQuery": True}
    prices = {
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "orange",
        "name": "Own prices",
        "target": target | {"rawSql": PRICE_CHANGES.strip()},
    }
    return [built_in, prices]


def dashboard() -> JsonObject:
    """The content of ``grafana-dashboard.json``."""
    rows = [spend.ROW, speed.ROW, failures.ROW, writer.TIMELINE_ROW, writer.WRITER_ROW]
    return {
        "id": None,
        "uid": UID,
        "title": "Aurea: cost and latency of Celery jobs",
        "description": "What language-model jobs cost: tokens, money, latency, failures; and whether all is written.",
        "tags": ["aurea", "celery", "cost", "llm"],
        "schemaVersion": 42,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "timezone": "browser",
        "time": {"from": "now-7d", "to": "now"},
        "timepicker": {},
        "refresh": "1m",
        "links": [],
        "annotations": {"list": _annotations()},
        "templating": {"list": _variables()},
        "panels": placed(rows),
    }
