"""Panels as Grafana's file has them, made of few kinds; and their places.

A panel names the columns that its query returns; what a column's unit and looks are is said once, in COLUMNS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

JsonObject = dict[str, Any]

DATASOURCE: JsonObject = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
GRID_WIDTH = 24

MIN_INTERVAL, MAX_POINTS = "30m", 100
"""Grafana's steps from there on (30m, 1h, 2h, 3h, 6h, 12h, 1d) are made of full quarters of an hour; 20m is not."""


class Panel(NamedTuple):
    """A panel without its place: its size in units of the grid, and the rest of what the file says of it."""

    width: int
    height: int
    body: JsonObject


class Row(NamedTuple):
    """A row of the dashboard."""

    title: str
    panels: list[Panel]


def _warns_from(value: float, color: str = "orange") -> JsonObject:
    """The property of a number that takes a color from some value on."""
    steps = [{"color": "text", "value": None}, {"color": color, "value": value}]
    return {"thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "thresholds"}}


def _job_link() -> JsonObject:
    url = "/d/${__dashboard.uid}?var-job=${__value.raw:percentencode}&${datasource:queryparam}&${__url_time_range}"
    return {"links": [{"title": "Show this job alone", "url": url, "targetBlank": False}], "custom.width": 240}


USD, MS, TOKENS, COUNT = {"unit": "currencyUSD"}, {"unit": "ms"}, {"unit": "short"}, {"unit": "locale"}
SHARE, SECONDS, TIME = {"unit": "percentunit"}, {"unit": "s"}, {"unit": "dateTimeAsIso", "custom.width": 165}
_BAR: JsonObject = {"custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}}
_UNPRICED = TOKENS | _warns_from(1)

COLUMNS: dict[str, JsonObject] = {
    "Time": TIME,
    "Last update": TIME,
    "Last seen": TIME,
    "Job": _job_link(),
    "Task": {},
    "Model": {},
    "Status": {"custom.width": 90},
    "Error": {},
    "Reason": {},
    "Host": {},
    "Process": {},
    "Budget of": {},
    "Of task": {},
    "Per": {"custom.width": 70},
    "When used up": {"custom.width": 110},
    "Cost known": {"custom.width": 100},
    "Executions": COUNT,
    "Calls": COUNT,
    "Attempt": COUNT | {"custom.width": 80},
    "Failed": COUNT,
    "Retried": COUNT,
    "Jobs": COUNT,
    "Jobs used up": COUNT | _warns_from(1, "red"),
    "Active jobs": COUNT,
    "Captured": COUNT,
    "Written": COUNT,
    "Not written yet": COUNT | _warns_from(1),
    "Rejected": COUNT | _warns_from(1, "red"),
    "Dropped": COUNT | _warns_from(1, "red"),
    "Tokens": TOKENS,
    "Unpriced tokens": _UNPRICED,
    "Wasted unpriced tokens": _UNPRICED,
    "Priced share": SHARE,
    "Share of cost": SHARE | _BAR | {"min": 0, "max": 1},
    "Used": SHARE | _BAR | {"min": 0, "max": 1} | _warns_from(0.9, "red"),
    "Success": SHARE,
    "Failure share": SHARE | _warns_from(0.05, "red"),
    "Change": SHARE,
    "Cost": USD,
    "Cost per hour": USD,
    "30 days at this rate": USD,
    "Cost per execution": USD,
    "Per 1,000 tokens": USD,
    "Wasted cost": USD,
    "Budget": USD,
    "Spent": USD,
    "Latency": MS,
    "Average": MS,
    "p50": MS,
    "p95": MS,
    "p99": MS,
    "Since last write": SECONDS | _warns_from(900),
    "Oldest not written": SECONDS | _warns_from(300, "red"),
}
"""What is said of a column, wherever it stands."""


def stat(title: str, description: str, sql: str, *, columns: Iterable[str], width: int) -> Panel:
    """Numbers of one row of a table, side by side."""
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "vertical",
        "textMode": "value_and_name",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True},
    }
    found = _panel(
        "stat",
        title,
        description,
        [_target(sql, "table")],
        unit="short",
        options=options,
        overrides=_overrides(columns),
    )
    found["fieldConfig"]["defaults"] |= {"color": _fixed("text"), "noValue": "-"}
    return Panel(width, 4, found)


def table(title: str, description: str, sql: str, *, columns: Iterable[str], width: int, height: int = 8) -> Panel:
    """A table."""
    options = {"showHeader": True, "cellHeight": "sm"}
    found = _panel(
        "table",
        title,
        description,
        [_target(sql, "table")],
        unit="short",
        options=options,
        overrides=_overrides(columns),
    )
    found["fieldConfig"]["defaults"] |= {"custom": {"align": "auto", "filterable": False}, "noValue": "-"}
    return Panel(width, height, found)


def pie(title: str, description: str, sql: str, *, unit: str, width: int, height: int = 9) -> Panel:
    """A slice for each row."""
    options = {
        "pieType": "donut",
        "displayLabels": ["percent"],
        "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "values": ["value", "percent"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True},
    }
    found = _panel("piechart", title, description, [_target(sql, "table")], unit=unit, options=options, overrides=[])
    found["fieldConfig"]["defaults"]["color"] = {"mode": "palette-classic"}
    return Panel(width, height, found)


def lines(title: str, description: str, *sqls: str, unit: str, width: int, **more: Any) -> Panel:
    """A line for each series; ``more`` are its height, and colors by the name of a series."""
    looks = {"lineWidth": 2, "spanNulls": False, "axisSoftMin": 0}
    return _over_time(title, description, sqls, looks, unit=unit, width=width, **more)


def wide_lines(title: str, description: str, *sqls: str, unit: str, width: int, **more: Any) -> Panel:
    """Lines over several orders of magnitude; ``more`` as of :func:`lines`."""
    looks = {"lineWidth": 2, "spanNulls": False, "scaleDistribution": {"type": "log", "log": 10}}
    return _over_time(title, description, sqls, looks, unit=unit, width=width, **more)


def bars(title: str, description: str, *sqls: str, unit: str, width: int, **more: Any) -> Panel:
    """Bars, one series on top of the other; ``more`` as of :func:`lines`."""
    looks = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"group": "A", "mode": "normal"}}
    return _over_time(title, description, sqls, looks, unit=unit, width=width, **more)


def histogram(title: str, description: str, sql: str, *, width: int, height: int = 8) -> Panel:
    """Bars over ``xMin`` to ``xMax``, which are milliseconds."""
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": False}}
    overrides = [_override(name, MS) for name in ("xMin", "xMax")]
    found = _panel(
        "histogram", title, description, [_target(sql, "table")], unit="locale", options=options, overrides=overrides
    )
    found["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 80, "lineWidth": 1}
    return Panel(width, height, found)


UNPRICED_SERIES = "tokens without a price"

STATUS_COLORS = {
    "success": "green",
    "retry": "yellow",
    "failure": "red",
    "timeout": "orange",
    "lost": "purple",
    "rejected": "dark-red",
    "revoked": "blue",
    "ignored": "text",
}


def _over_time(
    title: str,
    description: str,
    sqls: Iterable[str],
    looks: JsonObject,
    *,
    unit: str,
    width: int,
    height: int = 8,
    colors: Mapping[str, str] | None = None,
) -> Panel:
    """Series over time; tokens without a price have an axis of their own beside money."""
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = [_target(sql, "time_series", ref) for ref, sql in zip("ABC", sqls, strict=False)]
    aside: JsonObject = {
        "unit": "short",
        "custom.axisPlacement": "right",
        "custom.drawStyle": "line",
        "custom.fillOpacity": 0,
        "custom.lineStyle": {"fill": "dash", "dash": [4, 6]},
        "custom.lineWidth": 1,
        "custom.stacking": {"group": "B", "mode": "none"},
        "color": _fixed("orange"),
    }
    overrides = [_override(name, {"color": _fixed(color)}) for name, color in (colors or {}).items()]
    overrides += [_override(UNPRICED_SERIES, aside)] if unit == "currencyUSD" else []
    found = _panel("timeseries", title, description, targets, unit=unit, options=options, overrides=overrides)
    custom = {"drawStyle": "line", "showPoints": "auto"} | looks
    found["fieldConfig"]["defaults"] |= {"custom": custom, "color": {"mode": "palette-classic"}}
    found |= {"interval": MIN_INTERVAL, "maxDataPoints": MAX_POINTS}
    return Panel(width, height, found)


def _fixed(color: str) -> JsonObject:
    return {"mode": "fixed", "fixedColor": color}


def _panel(kind: str, title: str, description: str, targets: list[JsonObject], **looks: Any) -> JsonObject:
    """A panel; ``looks`` are the unit of what no override is about, the options and the overrides."""
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": looks["unit"]}, "overrides": looks["overrides"]},
        "options": looks["options"],
    }


def _target(sql: str, form: str, ref: str = "A") -> JsonObject:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "format": form,
        "rawQuery": True,
        "rawSql": sql.strip(),
    }


def _overrides(columns: Iterable[str]) -> list[JsonObject]:
    return [_override(column, COLUMNS[column]) for column in columns if COLUMNS[column]]


def _override(name: str, properties: JsonObject) -> JsonObject:
    found = [{"id": key, "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def placed(rows: Iterable[Row]) -> list[JsonObject]:
    """The panels of all rows with ids and places: from left to right, then below the highest of those before."""
    found: list[JsonObject] = []
    y = 0
    for row in rows:
        found.append(_row_header(row.title, len(found) + 1, y))
        x, y, next_y = 0, y + 1, y + 1
        for panel in row.panels:
            if x + panel.width > GRID_WIDTH:
                x, y = 0, next_y
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            found.append({"id": len(found) + 1, "gridPos": place} | panel.body)
            x, next_y = x + panel.width, max(next_y, y + panel.height)
        y = next_y
    return found


def _row_header(title: str, number: int, y: int) -> JsonObject:
    place = {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
