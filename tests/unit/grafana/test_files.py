"""The files that Grafana reads: made from their sources, complete, and without a key that Grafana does not know."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.alerting import Rule

from aurea_celery.events import STATUSES
from deploy.grafana.__main__ import files
from deploy.grafana.panels import COLUMNS, UNPRICED_SERIES
from tests.support.grafana import ALERTS, DASHBOARD, PANELS, QUERIES, ROOT, RULES, VARIABLES, rule_sql

DOCUMENTED = {
    "Total Cost by Job": "timeseries",
    "Average Latency by Task": "timeseries",
    "Token Usage by Model": "piechart",
    "Cost Breakdown by Model": "table",
    "Task Execution Timeline": "table",
    "Total Metrics": "stat",
    "Active Jobs": "stat",
    "Latency Distribution": "histogram",
}
"""The panels that were asked for, and what shows them."""

MACROS = {"__timeFilter", "__timeFrom", "__timeTo", "__timeGroup", "__timeGroupAlias"}
MACROS |= {"__unixEpochFrom", "__unixEpochTo", "__interval"}
COST = re.compile(r'AS "([^"]*(?:[Cc]ost|Spent)[^"]*)"')


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where something of a value is not in another one."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (value, same) in enumerate(zip(given, kept, strict=True)):
            yield from lost(value, same, f"{path}[{number}]")
    elif given != kept:
        yield path


def round_trip(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana's own model of a dashboard does not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it would rather be asked for the next form of dashboards
        from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    return list(lost(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))))


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_a_file_is_what_its_source_makes(path: Any) -> None:
    assert path.read_text() == files()[path], "run: python -m deploy.grafana"


def test_grafanas_own_model_loses_no_key() -> None:
    assert round_trip(DASHBOARD) == []


@pytest.mark.parametrize("place", ["", "options", "fieldConfig"])
def test_a_typo_would_be_lost(place: str) -> None:
    panel = next(panel for panel in PANELS if panel["type"] == "timeseries")
    changed = panel | {place: panel[place] | {"descripton": ""}} if place else panel | {"descripton": ""}
    assert round_trip(DASHBOARD | {"panels": [changed]}) == [f".panels[0].{place}.descripton".replace("..", ".")]


def test_it_can_be_provisioned_and_imported() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "aurea-celery"
    assert DASHBOARD["schemaVersion"] == 42
    assert not {"dashboard", "__inputs", "__requires"} & set(DASHBOARD)
    assert all(DASHBOARD[name] for name in ("time", "refresh", "tags", "title"))


def test_everything_asks_the_chosen_data_source() -> None:
    askers = [*PANELS, *(target for panel in PANELS for target in panel["targets"])]
    askers += [variable for variable in VARIABLES.values() if variable["type"] == "query"]
    askers += [annotation for annotation in DASHBOARD["annotations"]["list"] if "target" in annotation]
    assert len(askers) > 50
    for asker in askers:
        assert asker["datasource"] == {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
    assert VARIABLES["datasource"]["query"] == "grafana-postgresql-datasource"


def test_the_documents_panels_are_there_under_their_names() -> None:
    found = {panel["title"]: panel["type"] for panel in PANELS}
    assert found.items() >= DOCUMENTED.items()
    assert len(found) == len(PANELS)


def test_every_panel_says_what_it_is_and_in_which_unit() -> None:
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert set(units_of(panel)) <= known, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def units_of(panel: dict[str, Any]) -> Iterator[str]:
    yield panel["fieldConfig"]["defaults"]["unit"]
    for override in panel["fieldConfig"]["overrides"]:
        yield from (one["value"] for one in override["properties"] if one["id"] == "unit")


def test_no_panel_lies_over_another() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart, (one, other)


def test_rows_have_their_panels_below_them_and_no_gaps() -> None:
    for y in {panel["gridPos"]["y"] for panel in DASHBOARD["panels"]}:
        assert sum(panel["gridPos"]["w"] for panel in DASHBOARD["panels"] if panel["gridPos"]["y"] == y) == 24


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_a_query_knows_only_variables_and_macros_that_there_are(query: Any) -> None:
    without = re.sub(r"\$\{(\w+):sqlstring\}", lambda found: "" if found[1] in VARIABLES else found[0], query.sql)
    assert set(re.findall(r"\$(\w*)", without)) <= MACROS
    assert not re.search(r"\$\w+\([^)]*\(", without), "an argument of a macro cannot have parentheses"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_cost_is_never_shown_without_what_it_leaves_out(panel: dict[str, Any]) -> None:
    sqls = [target["rawSql"] for target in panel["targets"]]
    if panel["type"] == "timeseries" and panel["fieldConfig"]["defaults"]["unit"] == "currencyUSD":
        assert any(UNPRICED_SERIES in sql for sql in sqls)
    for sql in sqls:
        if COST.search(sql):
            assert re.search(r'AS "(?:Unpriced tokens|Wasted unpriced tokens|Priced share)"', sql)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_what_is_said_of_columns_is_said_of_columns_there_are(panel: dict[str, Any]) -> None:
    sqls = "".join(target["rawSql"] for target in panel["targets"])
    names = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    assert {name for name in names if f'AS "{name}"' not in sqls} in (set(), set(STATUSES))
    if panel["type"] in ("table", "stat"):
        assert set(re.findall(r'AS "([^"]+)"', sqls)) <= COLUMNS.keys()


def test_statuses_to_choose_are_those_that_there_are() -> None:
    assert VARIABLES["status"]["query"] == ",".join(STATUSES)


def test_jobs_lead_to_their_own_view() -> None:
    for title in ("Most Expensive Jobs", "Task Execution Timeline"):
        panel = next(panel for panel in PANELS if panel["title"] == title)
        (link,) = (
            one["value"][0]
            for override in panel["fieldConfig"]["overrides"]
            if override["matcher"]["options"] == "Job"
            for one in override["properties"]
            if one["id"] == "links"
        )
        assert "var-job=${__value.raw:percentencode}" in link["url"]


def test_rules_are_whole_and_need_nothing_that_provisioning_does_not_know() -> None:
    titles = {panel["id"]: panel["title"] for panel in PANELS}
    assert len({rule["uid"] for rule in RULES}) == len(RULES) == 10
    for rule in RULES:
        asked, above = rule["data"]
        assert (rule["condition"], rule["noDataState"], rule["execErrState"]) == ("B", "OK", "Error")
        assert asked["datasourceUid"] == "aurea-postgres"
        assert above["model"]["expression"] == asked["refId"] == "A"
        assert "$" not in rule_sql(rule)
        assert titles[rule["panelId"]]
        assert rule["annotations"]["__panelId__"] == str(rule["panelId"])
        assert "${" not in json.dumps(rule["annotations"])  # Grafana would look for it in its environment
        assert list(lost(rule, json.loads(JSONEncoder().encode(Rule.from_json(rule))))) == [".dashboardUid", ".panelId"]


def test_where_alerts_go_is_left_to_the_user() -> None:
    text = (ROOT / "deploy/grafana/provisioning/alerting/aurea.yaml").read_text()
    assert "WHERE ALERTS GO IS YOURS TO SAY" in text
    assert ALERTS.keys() == {"apiVersion", "groups"}
    assert not [rule for rule in RULES if "notification_settings" in rule]
