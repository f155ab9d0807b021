"""What becomes of a query before PostgreSQL gets it: the rules of Grafana, without Grafana.

The tests and the preview run the queries of the dashboard with it. The rules are those of ``sqlstring`` (Grafana's
``formatRegistry.ts``) and of the macros of the PostgreSQL data source (``macros.go`` and ``sql_engine.go``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from deploy.grafana.sql import ALL

Chosen = Mapping[str, Sequence[str]]
"""The values that are chosen of each variable; of one that is not named, All."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Range(NamedTuple):
    """The time range of a dashboard, and the interval of a panel, such as ``1h``."""

    begin: datetime
    end: datetime
    interval: str = "1h"


class UnknownMacro(ValueError):
    """Grafana refuses a query with a macro that it does not know."""


def expand(sql: str, time: Range, chosen: Chosen | None = None) -> str:
    """A query as PostgreSQL gets it.

    Raises:
        UnknownMacro: If something in it looks like a macro and is none; the value of a variable may be what does.
    """
    sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda found: _sqlstring((chosen or {}).get(found[1])), sql)
    sql = sql.replace("$__interval", time.interval)
    return re.sub(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)", lambda found: _macro(found, sql, time), sql)


def _sqlstring(values: Sequence[str] | None) -> str:
    if values is None:
        return ALL
    return ",".join("'" + value.replace("'", "''").replace('"', '\\"') + "'" for value in values)


def _macro(found: re.Match[str], sql: str, time: Range) -> str:
    name, arguments = found[1], [argument.strip() for argument in found[2].split(",")]
    if name == "__timeGroup" and sql[sql.index(found[0]) + len(found[0]) :].startswith(","):
        name = "__timeGroupAlias"  # Grafana does so, and looks at the first place only
    if name not in _MACROS:
        raise UnknownMacro(f"unknown macro {name!r}")
    return _MACROS[name](arguments, time)


def _literal(time: datetime) -> str:
    return f"'{time.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"


def _group(arguments: list[str], _time: Range) -> str:
    column, interval, *_fill = arguments
    seconds = int(interval[:-1]) * UNITS[interval[-1]]
    return f"floor(extract(epoch from {column})/{seconds})*{seconds}"


_MACROS: dict[str, Callable[[list[str], Range], str]] = {
    "__timeFilter": lambda given, time: f"{given[0]} BETWEEN {_literal(time.begin)} AND {_literal(time.end)}",
    "__timeFrom": lambda _, time: _literal(time.begin),
    "__timeTo": lambda _, time: _literal(time.end),
    "__unixEpochFrom": lambda _, time: str(math.floor(time.begin.timestamp())),
    "__unixEpochTo": lambda _, time: str(math.floor(time.end.timestamp())),
    "__timeGroup": _group,
    "__timeGroupAlias": lambda given, time: _group(given, time) + ' AS "time"',
}
"""Those that our queries use."""
