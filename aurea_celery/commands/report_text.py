"""A report for people: one sentence, then a table."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from aurea_celery.commands.figures import percent, printable, usd
from aurea_celery.storage.report import Line, Report
from aurea_celery.storage.spending import Spending

NOTHING, UNKNOWN = "-", "unknown"
LATENCIES = ("p50 ms", "p95 ms")
LONG_MS = 10


def as_text(report: Report) -> str:
    """The whole report."""
    since = report.since or report.first_updated
    if since is None:
        return "No executions."
    if not report.spent.count:
        return f"No executions{_which(report)}{_when(report, since)}."
    return "\n".join([*_sentences(report, since), "", *_table(report)])


def as_json(report: Report) -> bytes:
    """The whole report as one object; costs are exact numbers."""
    return msgspec.json.Encoder(decimal_format="number").encode(report)


def _sentences(report: Report, since: datetime) -> list[str]:
    sentences = [
        f"Spent {_cost(report.spent, 'an unknown sum')} in {_counted(report.spent.count, 'execution')}{_which(report)}"
        f"{_when(report, since)}, {_wasted(report)}; {_unpriced(report.spent)}."
    ]
    if report.redelivered.count:
        again = _counted(report.redelivered.count, "execution")
        sentences.append(
            f"{again} of messages that had been delivered before cost {_cost(report.redelivered, 'an unknown sum')}."
        )
    return sentences


def _which(report: Report) -> str:
    """Of which executions the report is."""
    filters = {
        "of job": () if report.job_id is None else (report.job_id,),
        "of task": report.tasks,
        "of model": report.models,
        "of provider": report.providers,
        "with status": report.statuses,
    }
    parts = [f" {words} {' or '.join(map(printable, names))}" for words, names in filters.items() if names]
    return "".join([*parts, *(f" with tag {printable(f'{name}:{value}')}" for name, value in report.tags)])


def _when(report: Report, since: datetime) -> str:
    return f" since {_time(since)}" + (f" until {_time(report.until)}" if report.until else "")


def _wasted(report: Report) -> str:
    attempts = "on attempts that came to nothing"
    if not report.waste.count:
        return f"none of it {attempts}"
    wasted, spent = report.waste.total_cost, report.spent.total_cost
    share = f" ({percent(wasted, spent)})" if wasted else ""
    return f"of which {_cost(report.waste, 'an unknown part')}{share} {attempts}"


def _unpriced(spent: Spending) -> str:
    tokens, unpriced = spent.total_tokens, spent.unpriced_tokens
    if not tokens:
        return "no tokens were counted"
    if not unpriced:
        return "every token has a price"
    if unpriced == tokens:
        return f"none of the {tokens:,} tokens has a price"
    return f"{percent(unpriced, tokens)} of the tokens ({unpriced:,}) have no price and are not counted in it"


def _cost(spent: Spending, unknown: str) -> str:
    """A cost; where no token has a price it is not nothing."""
    return unknown if spent.unpriced_tokens and not spent.total_cost else usd(spent.total_cost)


def _table(report: Report) -> list[str]:
    """A line for each, what is left out, and the total; numbers stand on the right."""
    has_latency = report.p50_latency_ms is not None
    heads = [report.by, "calls" if report.by == "model" else "executions", "tokens", "cost", "wasted", "unpriced"]
    total = Line(
        name=f"all {report.line_count:,}",
        spent=replace(report.spent, count=report.calls) if report.by == "model" else report.spent,
        waste=report.waste,
        p50_latency_ms=report.p50_latency_ms,
        p95_latency_ms=report.p95_latency_ms,
    )
    rows = [
        [*heads, *(LATENCIES if has_latency else ())],
        *(_cells(line, has_latency=has_latency) for line in (*report.lines, total)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    left_out = report.line_count - len(report.lines)
    return [*lines[:-1], *([f"and {left_out:,} more; see --limit"] if left_out else []), lines[-1]]


def _cells(line: Line, *, has_latency: bool) -> list[str]:
    spent, waste = line.spent, line.waste
    latencies = (line.p50_latency_ms, line.p95_latency_ms) if has_latency else ()
    return [
        printable(line.name),
        f"{spent.count:,}",
        f"{spent.total_tokens:,}",
        _cost(spent, UNKNOWN),
        _cost(waste, UNKNOWN) if waste.total_tokens or waste.count else NOTHING,
        f"{spent.unpriced_tokens:,}" if spent.unpriced_tokens else NOTHING,
        *(NOTHING if ms is None else _milliseconds(ms) for ms in latencies),
    ]


def _milliseconds(ms: float) -> str:
    """Not more digits than are right: two."""
    known = float(f"{ms:.2g}")
    return f"{known:,.0f}" if known >= LONG_MS else f"{known:g}"


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
