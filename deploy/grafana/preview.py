"""Draws ``docs/images/dashboard-preview.png``: ``python -m deploy.grafana.preview``.

The dashboard's own queries are asked of invented data on a private PostgreSQL; matplotlib draws what they return, at
the places that the dashboard says. So the figures are those of the queries, and the looks are not Grafana's.
"""

from __future__ import annotations

import contextlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psycopg2
from matplotlib.figure import Figure
from PIL import Image

from aurea_celery.embedded import EmbeddedPostgres
from aurea_celery.models import upgrade_database
from deploy.grafana import demo_data
from deploy.grafana.dashboard import dashboard
from deploy.grafana.drawing import BACKGROUND, CARD, FAINT, TEXT, Answer, draw
from deploy.grafana.expand import Range, expand
from deploy.grafana.panels import GRID_WIDTH, JsonObject

PICTURE = Path(__file__).parents[2] / "docs/images/dashboard-preview.png"
NOTE = "A preview drawn without Grafana, by the dashboard's own queries from invented data."
ROWS = ("Spend", "Speed")
UNIT_INCHES = (0.56, 0.30)
"""The size of a unit of the grid."""

TOP_INCHES, DPI, COLORS = 0.5, 105, 64


def main() -> None:
    """Draw the picture."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="aurea-preview-") as folder, contextlib.ExitStack() as stack:
        server = EmbeddedPostgres(Path(folder))
        stack.callback(server.stop)
        upgrade_database(server.url)
        demo_data.fill(server.url, now)
        connection = stack.enter_context(contextlib.closing(psycopg2.connect(server.url)))
        figure = _figure(connection, Range(now - timedelta(days=7), now, "2h"))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=DPI, facecolor=BACKGROUND)
    Image.open(PICTURE).convert("RGB").quantize(COLORS).save(PICTURE, optimize=True)


def _figure(connection: Any, time: Range) -> Figure:
    """All panels of the rows that are drawn, at their places."""
    panels = _drawn()
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    size = (GRID_WIDTH * UNIT_INCHES[0], height * UNIT_INCHES[1] + TOP_INCHES)
    mpl.rcParams["font.family"] = "DejaVu Sans"
    figure = Figure(figsize=size, facecolor=BACKGROUND)
    top = 1 - 0.5 * TOP_INCHES / size[1]
    figure.text(0.008, top, dashboard()["title"], color=TEXT, fontsize=12, fontweight="bold", va="center")
    figure.text(0.992, top, NOTE, color=FAINT, fontsize=8.5, va="center", ha="right", style="italic")
    for panel in panels:
        answers = [_ask(connection, target["rawSql"], time) for target in panel.get("targets", [])]
        _place(figure, panel, answers, size)
    return figure


def _drawn() -> list[JsonObject]:
    """The rows that are drawn: their headers and panels."""
    found: list[JsonObject] = []
    for panel in dashboard()["panels"]:
        if panel["type"] == "row" and panel["title"] not in ROWS:
            break
        found.append(panel)
    return found


def _ask(connection: Any, sql: str, time: Range) -> Answer:
    with connection.cursor() as cursor:
        cursor.execute(expand(sql, time))
        return Answer([column.name for column in cursor.description], cursor.fetchall())


def _place(figure: Figure, panel: JsonObject, answers: list[Answer], size: tuple[float, float]) -> None:
    """Draw a panel on a card of its own."""
    place = panel["gridPos"]
    left, width = place["x"] / GRID_WIDTH, place["w"] / GRID_WIDTH
    height = place["h"] * UNIT_INCHES[1] / size[1]
    bottom = 1 - (TOP_INCHES + place["y"] * UNIT_INCHES[1]) / size[1] - height
    if panel["type"] == "row":
        figure.text(left + 0.008, bottom + height / 2, f"▾ {panel['title']}", color=TEXT, fontsize=10, va="center")
        return
    gap, gap_high = 0.003, 0.04 / size[1]
    card = figure.add_axes((left + gap, bottom + gap_high, width - 2 * gap, height - 2 * gap_high), facecolor=CARD)
    card.set_xticks([])
    card.set_yticks([])
    for spine in card.spines.values():
        spine.set_color("#2c3235")
    title = (left + 0.009, bottom + height - 0.18 / size[1])
    figure.text(*title, panel["title"], color=TEXT, fontsize=8.5, fontweight="bold", va="center")
    inner_left, inner_right, low, high = _margins(panel["type"], size)
    draw(
        figure.add_axes((left + inner_left, bottom + low, width - inner_left - inner_right, height - low - high)),
        panel,
        answers,
    )


def _margins(kind: str, size: tuple[float, float]) -> tuple[float, float, float, float]:
    """The room around a panel's drawing: left, right, below, above."""
    wide = 0.03 if kind in ("timeseries", "histogram") else 0.009
    low = {"timeseries": 0.55, "histogram": 0.28}.get(kind, 0.1)
    return wide, 0.03 if kind == "timeseries" else 0.009, low / size[1], 0.32 / size[1]


if __name__ == "__main__":
    main()
