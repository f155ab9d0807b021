"""Every query of the dashboard runs as the role that reads, whatever is chosen, and returns what its panel can draw."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from deploy.grafana.expand import Chosen, Range, expand
from deploy.grafana.panels import COLUMNS
from tests.support import history
from tests.support.grafana import QUERIES, Query
from tests.support.grafana_databases import HOSTILE, NOW, reading

NUMBERS, TEXTS, TIMES = {20, 21, 23, 701, 1700}, {25}, {1184}
"""The types of PostgreSQL that Grafana takes for numbers, texts and times, by their oid."""

RANGES = [
    Range(history.BEGIN, NOW, "1d"),
    Range(NOW - timedelta(hours=6), NOW, "30m"),
    Range(NOW + timedelta(days=300), NOW + timedelta(days=301), "30m"),  # where nothing is
]
CHOSEN: list[Chosen] = [
    {},
    {"job": ["chat/1"]},
    {"job": ["nightly", "the-big-one"], "status": ["success", "failure"]},
    {"task": ["shop.ask"], "model": ["gpt-4"]},
    dict.fromkeys(("job", "task", "model", "status"), HOSTILE),
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_it_returns_what_can_be_drawn(query: Query, every_url: list[str]) -> None:
    for url in every_url:
        with reading(url) as cursor:
            for time, chosen in zip([*RANGES, *[RANGES[0]] * len(CHOSEN)], [{}, {}, {}, *CHOSEN], strict=True):
                cursor.execute(expand(query.sql, time, chosen))
                check(query, cursor.description, cursor.fetchall())


def check(query: Query, columns: Any, rows: list[tuple[Any, ...]]) -> None:
    """What a panel returns has the columns and types that the panel can draw, in their order."""
    names, types = [column.name for column in columns], [column.type_code for column in columns]
    if query.form == "time_series":
        check_series(names, types, rows)
    elif query.kind in ("table", "stat"):
        assert set(names) <= COLUMNS.keys()
        assert set(types) <= NUMBERS | TEXTS | TIMES if query.kind == "table" else set(types) <= NUMBERS
        assert query.kind == "table" or len(rows) == 1
    elif query.kind == "piechart":
        assert [types[0] in TEXTS, types[1] in NUMBERS, len(types)] == [True, True, 2]
    elif query.kind == "histogram":
        check_bins(names, rows)
    elif query.kind == "annotation":
        assert (names, types) == (["time", "text"], [1184, 25])
    else:
        assert set(types) <= TEXTS
        assert len(types) == 1
        assert len(rows) <= 500


def check_series(names: list[str], types: list[int], rows: list[tuple[Any, ...]]) -> None:
    """A time that ascends and is always there, then numbers; or one number for each name."""
    assert (names[0], types[0] in NUMBERS) == ("time", True)
    if "metric" in names:
        assert (names[1:], types[1] in TEXTS, types[2] in NUMBERS) == (["metric", "value"], True, True)
    else:
        assert set(types) <= NUMBERS
    keys = [row[:2] if "metric" in names else row[:1] for row in rows]
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    assert len(set(keys)) == len(keys)


def check_bins(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Bins without a gap, each twice as wide as the one before; none, or two at least, to tell the width from."""
    assert names[:2] == ["xMin", "xMax"]
    assert len(rows) != 1
    for (low, high, count), following in zip(rows, [*rows[1:], None], strict=True):
        assert high == 2 * low >= 2
        assert count >= 0
        assert following is None or following[0] == high
