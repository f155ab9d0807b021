"""What the API is asked, and the same in plain SQL over the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from bench.filled import BIG_JOB

Figures = list[tuple[Any, ...]]

MONTH = timedelta(days=30)
SMALL_JOB = "job-100"
SUMS = "sum(executions), sum(token_count), sum(unpriced_tokens), sum(cost_estimate), sum(latency_ms)"
IN_MONTH = "created_at >= :since AND created_at < :until"
PERCENTILE_ERROR = Decimal("0.05")


class Question(NamedTuple):
    """A call, its figures, and the statement that gives the same ones; ``is_close`` if they need not be equal."""

    name: str
    path: str
    figures: Callable[[Any], Figures]
    sql: str
    is_chart: bool = False
    is_close: bool = False

    def address(self, until: datetime) -> str:
        """The path, with its times."""
        times = {name: time.isoformat().replace("+00:00", "Z") for name, time in self.times(until).items()}
        return self.path.format(**times)

    def times(self, until: datetime) -> dict[str, datetime]:
        """The month before a time."""
        return {"since": until - MONTH, "until": until}

    def answer(self, body: bytes) -> Figures:
        """The figures of an answer, every number exact."""
        return self.figures(json.loads(body, parse_float=Decimal))

    def compare(self, said: Figures, plain: Figures) -> None:
        """Whether both say the same.

        Raises:
            AssertionError: If not.
        """
        assert len(said) == len(plain), f"{self.name}: {len(said)} figures, plain SQL has {len(plain)}"
        for ours, theirs in zip(sorted(said), sorted(plain), strict=True):
            if self.is_close:
                assert ours[:-1] == theirs[:-1], self.name
                assert abs(ours[-1] - theirs[-1]) <= theirs[-1] * PERCENTILE_ERROR, (self.name, ours, theirs)
            else:
                assert ours == theirs, (self.name, ours, theirs)


def _job(body: Any) -> Figures:
    names = ("total_tasks", "total_tokens", "unpriced_tokens", "total_cost", "total_latency_ms")
    return [tuple(body[name] for name in names)]


def _totals(body: Any) -> Figures:
    return _job(body["totals"])


def _named(list_name: str, name: str) -> Callable[[Any], Figures]:
    return lambda body: [(line[name], *_totals(line)[0]) for line in body[list_name]]


def _series(body: Any) -> Figures:
    return [
        (time, line["name"] or "", value)
        for line in (*body["series"], *filter(None, [body["other"]]))
        for time, value in zip(body["times"], line["values"], strict=True)
        if value
    ]


def _grouped(column: str) -> str:
    return f"SELECT {column}, {SUMS} FROM metrics WHERE {IN_MONTH} GROUP BY 1"  # noqa: S608 - our own names


def _over_time(unit: str, name: str, value: str) -> str:
    time = f"""to_char(date_trunc('{unit}', created_at, 'UTC') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS"Z"')"""
    return f"SELECT {time}, {name}, {value} FROM metrics WHERE {IN_MONTH} GROUP BY 1, 2 HAVING {value} > 0"  # noqa: S608


DEAREST = (
    f"SELECT model_used FROM metrics WHERE {IN_MONTH}"  # noqa: S608 - our own names
    " GROUP BY 1 ORDER BY sum(cost_estimate) DESC, 1 LIMIT 10"
)
P95 = "percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms)"
PERIOD = "since={since}&until={until}"
QUESTIONS = (
    Question(
        "a job of 33 tasks",
        f"/metrics/jobs/{SMALL_JOB}",
        _job,
        f"SELECT {SUMS} FROM metrics WHERE job_id = '{SMALL_JOB}'",  # noqa: S608 - our own names
    ),
    Question(
        "a job of a tenth of all rows",
        f"/metrics/jobs/{BIG_JOB}",
        _job,
        f"SELECT {SUMS} FROM metrics WHERE job_id = '{BIG_JOB}'",  # noqa: S608 - our own names
    ),
    Question(
        "its last 100 rows",
        f"/metrics/jobs/{BIG_JOB}/details?limit=100",
        lambda body: [(row["id"], row["cost_estimate"]) for row in body["metrics"]],
        f"SELECT id, cost_estimate FROM metrics WHERE job_id = '{BIG_JOB}'"  # noqa: S608 - our own names
        " ORDER BY created_at DESC, id DESC LIMIT 100",
    ),
    Question(
        "a job as a tree",
        f"/metrics/jobs/{SMALL_JOB}/tree",
        lambda body: [(body["executions"], sum(node["direct"]["total_cost"] for node in body["nodes"]))],
        f"SELECT sum(executions), sum(cost_estimate) FROM metrics WHERE job_id = '{SMALL_JOB}'",  # noqa: S608
    ),
    Question(
        "the last 20 jobs",
        "/metrics/jobs?limit=20",
        lambda body: [(job["job_id"], job["task_count"], job["total_cost"]) for job in body["jobs"]],
        "SELECT job_id, sum(executions), sum(cost_estimate) FROM metrics GROUP BY 1"
        " ORDER BY max(created_at) DESC, job_id DESC LIMIT 20",
    ),
    Question(
        "the 20 jobs that cost most",
        "/metrics/jobs?limit=20&sort=cost",
        lambda body: [(job["job_id"], job["task_count"], job["total_cost"]) for job in body["jobs"]],
        "SELECT job_id, sum(executions), sum(cost_estimate) FROM metrics GROUP BY 1 ORDER BY 3 DESC, 1 DESC LIMIT 20",
    ),
    Question(
        "the month, in all",
        f"/metrics/summary?{PERIOD}",
        _totals,
        f"SELECT {SUMS} FROM metrics WHERE {IN_MONTH}",  # noqa: S608 - our own names
    ),
    Question(
        "the month, by task", f"/metrics/tasks?limit=1000&{PERIOD}", _named("tasks", "task_name"), _grouped("task_name")
    ),
    Question("the month, by model", f"/metrics/models?{PERIOD}", _named("models", "model"), _grouped("model_used")),
    Question(
        "chart: cost by model, hours of the month",
        f"/metrics/timeseries?measure=cost&by=model&interval=1h&{PERIOD}",
        _series,
        _over_time("hour", f"CASE WHEN model_used IN ({DEAREST}) THEN model_used ELSE '' END", "sum(cost_estimate)"),
        is_chart=True,
    ),
    Question(
        "chart: tasks by status, days of the month",
        f"/metrics/timeseries?measure=tasks&by=status&interval=1d&{PERIOD}",
        _series,
        _over_time("day", "status", "sum(executions)"),
        is_chart=True,
    ),
    Question(
        "chart: 95th percentile, days of the month",
        f"/metrics/timeseries?measure=latency_p95&interval=1d&{PERIOD}",
        _series,
        _over_time("day", "''", P95),
        is_chart=True,
        is_close=True,
    ),
)
"""The month is the one before the end of what was filled; its first day may be a part of one."""
