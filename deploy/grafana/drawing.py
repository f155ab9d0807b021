"""Draws panels with matplotlib, about as Grafana does: for the preview alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from deploy.grafana.panels import COLUMNS, UNPRICED_SERIES, JsonObject

BACKGROUND, CARD, TEXT, FAINT, ORANGE, RED = "#111217", "#181b1f", "#d8d9da", "#8e9297", "#ff9830", "#f2495c"
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#b877d9", "#5794f2", "#ff7383", "#37872d", "#c8a2ff", "#a16a17"]
COLORS = {
    "green": "#73bf69",
    "yellow": "#f2cc0c",
    "red": RED,
    "orange": ORANGE,
    "purple": "#b877d9",
    "dark-red": "#c4162a",
}
COLORS |= {"blue": "#5794f2", "text": TEXT}
DAY_SECONDS, SECOND_MS = 86_400, 1000
CELL = 13
"""The height of a table's line, in points."""

Series = dict[str, tuple[list[float], list[float]]]
"""Series by name: their times, in days since 1970 as matplotlib has them, and their values."""


class Answer(NamedTuple):
    """What a query returned."""

    names: list[str]
    rows: list[tuple[Any, ...]]


def draw(axes: Axes, panel: JsonObject, answers: list[Answer]) -> None:
    """Draw a panel, with what each of its queries returned."""
    axes.set_facecolor(CARD)
    axes.tick_params(colors=FAINT, labelsize=6.5, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _KINDS[panel["type"]](axes, panel, answers)


def written(value: Any, unit: str) -> str:
    """A value as it is read."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%m-%d %H:%M:%S}"
    return value if isinstance(value, str) else _UNITS.get(unit, _count)(float(value))


def _count(value: float) -> str:
    for name, size in (("M", 1e6), ("K", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g}"


def _usd(value: float) -> str:
    digits = 2 if abs(value) >= 1 or not value else 1 - math.floor(math.log10(abs(value)))
    return f"${value:,.{digits}f}"


def _ms(value: float) -> str:
    return f"{value / SECOND_MS:.3g} s" if value >= SECOND_MS else f"{value:.3g} ms"


_UNITS: dict[str, Callable[[float], str]] = {
    "currencyUSD": _usd,
    "ms": _ms,
    "s": lambda value: f"{value:.0f} s",
    "percentunit": lambda value: f"{value:.1%}",
    "locale": lambda value: f"{value:,.0f}",
}


def _unit(panel: JsonObject, column: str) -> str:
    return str(COLUMNS.get(column, {}).get("unit", panel["fieldConfig"]["defaults"]["unit"]))


def _color(column: str, value: Any) -> str:
    thresholds = COLUMNS.get(column, {}).get("thresholds")
    if not thresholds or not isinstance(value, int | float | Decimal):
        return TEXT
    step = thresholds["steps"][1]
    return {"orange": ORANGE, "red": RED}[step["color"]] if value >= step["value"] else TEXT


def _stat(axes: Axes, panel: JsonObject, answers: list[Answer]) -> None:
    axes.set_axis_off()
    names, (row,) = answers[0].names, answers[0].rows
    for number, (name, value) in enumerate(zip(names, row, strict=True)):
        x = (number + 0.5) / len(names)
        axes.text(x, 0.82, name, ha="center", va="center", color=FAINT, fontsize=7)
        text = written(value, _unit(panel, name))
        axes.text(x, 0.38, text, ha="center", va="center", color=_color(name, value), fontsize=15, fontweight="bold")


def _table(axes: Axes, panel: JsonObject, answers: list[Answer]) -> None:
    axes.set_axis_off()
    names = answers[0].names
    lines = max(1, int(axes.get_window_extent().height / axes.figure.dpi * 72 / CELL) - 1)
    texts = [
        [written(value, _unit(panel, name)) for name, value in zip(names, row, strict=True)] for row in answers[0].rows
    ]
    widths = [max(len(name), *(len(row[place]) for row in texts), 4) + 2 for place, name in enumerate(names)]
    edges = [sum(widths[:place]) / sum(widths) for place in range(len(names) + 1)]
    for place, name in enumerate(names):
        _cells(axes, (edges[place], edges[place + 1]), name, [row[place] for row in answers[0].rows], (panel, lines))


def _cells(axes: Axes, edges: tuple[float, float], name: str, values: list[Any], rest: tuple[JsonObject, int]) -> None:
    """A column of a table: its name, and as many values as there is room for."""
    panel, lines = rest
    left = all(isinstance(value, str | datetime) for value in values)
    x, side = (edges[0] + 0.004, "left") if left else (edges[1] - 0.008, "right")
    for line, value in enumerate([None, *values[:lines]]):
        y = 1 - (line + 0.5) / (lines + 1)
        if not line:
            axes.text(x, y, name, ha=side, va="center", color=FAINT, fontsize=6.3)
            continue
        if "custom.cellOptions" in COLUMNS.get(name, {}) and value is not None:
            width = (edges[1] - edges[0]) * 0.9 * min(float(value), 1)
            axes.barh(y, width, 0.7 / (lines + 1), left=edges[0] + 0.008, color=PALETTE[5], alpha=0.45)
        text = written(value, _unit(panel, name))
        axes.text(x, y, text, ha=side, va="center", color=_color(name, value), fontsize=6.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _pie(axes: Axes, panel: JsonObject, answers: list[Answer]) -> None:
    names, values = [row[0] for row in answers[0].rows], [float(row[1]) for row in answers[0].rows]
    wedges = axes.pie(values, colors=PALETTE, startangle=90, counterclock=False, radius=1.1, wedgeprops={"width": 0.5})[
        0
    ]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    labels = [f"{name}   {written(value, unit)}" for name, value in zip(names, values, strict=True)]
    axes.legend(
        wedges, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.2, frameon=False, labelcolor=TEXT
    )
    axes.set_anchor((0.02, 0.5))


def _series(answer: Answer) -> Series:
    """The series of an answer by name: times and values."""
    found: Series = {}
    for time, *values in answer.rows:
        named = [values] if "metric" in answer.names else zip(answer.names[1:], values, strict=True)
        for name, value in named:
            times, numbers = found.setdefault(name, ([], []))
            if value is not None:
                times.append(float(time) / DAY_SECONDS)
                numbers.append(float(value))
    return found


def _time_series(axes: Axes, panel: JsonObject, answers: list[Answer]) -> None:
    custom, unit = panel["fieldConfig"]["defaults"]["custom"], panel["fieldConfig"]["defaults"]["unit"]
    series, colors = _series(answers[0]), _fixed_colors(panel)
    if custom["drawStyle"] == "bars":
        _stack(axes, series, colors)
    else:
        for number, (name, (times, values)) in enumerate(series.items()):
            axes.plot(times, values, color=colors.get(name, PALETTE[number % len(PALETTE)]), linewidth=1.2, label=name)
    if "scaleDistribution" in custom:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=9))  # type: ignore[no-untyped-call]  # it has no type hints
    axes.xaxis.set_major_formatter(FuncFormatter(_day_or_hour))
    axes.grid(color="#2c3235", linewidth=0.5)
    axes.set_axisbelow(True)
    for answer in answers[1:]:
        _aside(axes, _series(answer))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09),
        ncols=6,
        fontsize=6.2,
        frameon=False,
        labelcolor=TEXT,
        handlelength=1,
        columnspacing=1.2,
    )


def _fixed_colors(panel: JsonObject) -> dict[str, str]:
    """The colors that the panel gives to series by name."""
    return {
        override["matcher"]["options"]: COLORS[one["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    }


def _day_or_hour(days: float, _place: int) -> str:
    time = datetime.fromtimestamp(days * DAY_SECONDS, UTC)
    return f"{time:%H:%M}" if time.hour else f"{time:%m-%d}"


def _stack(axes: Axes, series: Series, colors: dict[str, str]) -> None:
    times = sorted({time for found, _ in series.values() for time in found})
    width = min((after - before for before, after in itertools.pairwise(times)), default=1 / 24)
    below = dict.fromkeys(times, 0.0)
    for number, (name, (found, values)) in enumerate(series.items()):
        bottoms = [below[time] for time in found]
        color = colors.get(name, PALETTE[number % len(PALETTE)])
        axes.bar(found, values, width, bottom=bottoms, align="edge", color=color, label=name)
        below |= {time: below[time] + value for time, value in zip(found, values, strict=True)}


def _aside(axes: Axes, series: Series) -> None:
    """Tokens without a price, dashed, on an axis of their own."""
    if UNPRICED_SERIES not in series:
        return
    times, values = series[UNPRICED_SERIES]
    aside = axes.twinx()
    aside.tick_params(colors=ORANGE, labelsize=6.5, length=0)
    aside.yaxis.set_major_locator(MaxNLocator(5))
    aside.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    aside.plot(times, values, "--", color=ORANGE, linewidth=0.8)
    aside.set_ylim(bottom=0)
    axes.plot([], [], "--", color=ORANGE, linewidth=0.8, label=UNPRICED_SERIES)
    for spine in aside.spines.values():
        spine.set_visible(False)


def _histogram(axes: Axes, _panel: JsonObject, answers: list[Answer]) -> None:
    for low, high, count in answers[0].rows:
        axes.bar(low, float(count), high - low, align="edge", color=PALETTE[0], edgecolor=CARD, linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _ms(value)))
    axes.grid(axis="y", color="#2c3235", linewidth=0.5)
    axes.set_axisbelow(True)


_KINDS: dict[str, Callable[[Axes, JsonObject, list[Answer]], None]] = {
    "stat": _stat,
    "table": _table,
    "piechart": _pie,
    "timeseries": _time_series,
    "histogram": _histogram,
}
