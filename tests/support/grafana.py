"""What Grafana is given, as the files have it: the dashboard, its queries, the alert rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana-dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/grafana/provisioning/alerting/aurea.yaml").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]


class Query(NamedTuple):
    """A query of the dashboard: whose it is, what draws it, and in which form it is wanted."""

    title: str
    kind: str
    form: str
    sql: str


def queries() -> Iterator[Query]:
    """Every query of the dashboard: of panels, variables and annotations."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield Query(f"{panel['title']} {target['refId']}", panel["type"], target["format"], target["rawSql"])
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            yield Query(f"variable {variable['name']}", "variable", "table", variable["query"])
    for annotation in DASHBOARD["annotations"]["list"]:
        if "target" in annotation:
            target = annotation["target"]
            yield Query(f"annotation {annotation['name']}", "annotation", target["format"], target["rawSql"])


QUERIES = list(queries())


def panel_sql(title: str, ref: str = "A") -> str:
    """The query of a panel."""
    return next(query.sql for query in QUERIES if query.title == f"{title} {ref}")


def rule_sql(rule: dict[str, Any]) -> str:
    """The query of an alert rule."""
    return str(rule["data"][0]["model"]["rawSql"])
