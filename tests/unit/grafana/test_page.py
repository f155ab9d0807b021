"""The page on Grafana says what is in the files."""

from __future__ import annotations

import re

import yaml

from tests.support.grafana import DASHBOARD, PANELS, ROOT, RULES, VARIABLES

PAGE = (ROOT / "docs/grafana.md").read_text()


def lines_of(section: str) -> dict[str, str]:
    """The table of a section: the rest of each line by its first cell."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", text, re.MULTILINE)[1:])


def test_every_variable_is_documented() -> None:
    assert list(lines_of("Choosing")) == [variable["label"] for variable in VARIABLES.values()]


def test_every_panel_is_documented_in_its_row() -> None:
    rows: dict[str, list[str]] = {}
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            rows[panel["title"]] = []
        else:
            list(rows.values())[-1].append(panel["title"])
    assert {row: text.split(", ") for row, text in lines_of("What it shows").items() if row in rows} == rows


def test_every_rule_is_documented_with_its_threshold_and_panel() -> None:
    documented = lines_of("Alerts")
    titles = {panel["id"]: panel["title"] for panel in PANELS}
    for rule in RULES:
        condition, panel = documented.pop(rule["title"]).split(" | ")
        (threshold,) = rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"]
        assert f" {threshold:g} " in condition, rule["title"]
        assert panel == titles[rule["panelId"]]
    assert documented == {}


def test_the_example_of_a_contact_point_is_one() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (point,) = yaml.safe_load(example)["contactPoints"]
    assert point.keys() == {"orgId", "name", "receivers"}


def test_the_picture_is_there_and_small() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    assert 10_000 < (ROOT / "docs" / picture).stat().st_size < 300_000
