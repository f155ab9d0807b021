"""The report: what the API knows of the run, per job, task and model."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from rich import box
from rich.console import RenderableType
from rich.table import Table

from worker_example.proof import Proof, ledger_totals
from worker_example.services import WORKER_PROCESSES

MOST_JOBS = 16


class Line(NamedTuple):
    """What one job, task or model used."""

    uses: int = 0
    tokens: int = 0
    unpriced_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_ms: Decimal = Decimal(0)
    wasted_usd: Decimal = Decimal(0)

    def plus(self, other: Line) -> Line:
        """Both together."""
        return Line(
            self.uses + other.uses,
            self.tokens + other.tokens,
            self.unpriced_tokens + other.unpriced_tokens,
            self.cost_usd + other.cost_usd,
            self.latency_ms + other.latency_ms,
            self.wasted_usd + other.wasted_usd,
        )


def tables(summaries: list[dict[str, Any]], prefix: str) -> list[RenderableType]:
    """The report's tables, from the API's answers for each job, with the footnote that they need."""
    jobs, models = by_job(summaries, prefix), by_model(summaries)
    return [
        *_with_space(
            table("Per job", jobs),
            table("Per task", by_task(summaries)),
            table("Per model", models, uses="calls", is_attempts=False),
        ),
        *bottom_line(total(jobs)),
    ]


def bottom_line(line: Line) -> list[str]:
    """What was spent, what of it came to nothing, and what is not in it.

    >>> print(*bottom_line(Line(9, 100, 2, Decimal(4), wasted_usd=Decimal(1))), sep=chr(10))
     Spent 4.0000 USD, of which 1.0000 on attempts that came to nothing
     * not counting 2 tokens (2.00%) without a known price: not known is not free
    """
    said = [f" Spent {line.cost_usd:,.4f} USD, of which {line.wasted_usd:,.4f} on attempts that came to nothing"]
    if line.unpriced_tokens:
        tokens = f"{line.unpriced_tokens:,} tokens ({line.unpriced_tokens / line.tokens:.2%})"
        said.append(f" * not counting {tokens} without a known price: not known is not free")
    return said


def total(lines: dict[str, Line]) -> Line:
    """All lines together."""
    return functools.reduce(Line.plus, lines.values(), Line())


def conclusion(proof: Proof, plan_name: str) -> list[str]:
    """What the accounts of the run say, and whether they agree; the line of the books comes last."""
    accounts = {plan_name: proof.planned, "ledger": ledger_totals(proof.ledger), "API": proof.said}
    endings = ", ".join(f"{count:,} {status}" for status, count in proof.rows.statuses.most_common())
    verdict = [f" [bold red]differs[/]  {sentence}" for sentence in proof.differences()]
    return [
        "",
        "[bold]Proof[/], against a ledger that the tasks wrote themselves",
        *(f" {name:8} {totals}" for name, totals in accounts.items() if totals is not None),
        f" {'endings':8} {endings}",
        *(
            verdict
            or [" [bold green]agrees[/]   each execution in the ledger is one row of the API, with the same tokens"]
        ),
        "",
        f"{proof.books}",
    ]


def pace(executions: int, seconds: float, inside_seconds: float, readable_seconds: float | None) -> str:
    """How fast it went; ``inside_seconds`` is the time that all processes together spent inside tasks.

    >>> print(pace(100, 4.0, 6.0, 0.5))
    25 tasks per second, retries included (2 processes, 75% of their time inside tasks)
    the last row was readable 0.50 s after the last task ended
    """
    share = inside_seconds / (seconds * WORKER_PROCESSES) if seconds else 0.0
    rate = executions / seconds if seconds else 0.0
    after = "not every row became readable"
    if readable_seconds is not None:
        after = f"the last row was readable {readable_seconds:.2f} s after the last task ended"
    processes = f"{WORKER_PROCESSES} processes, {share:.0%} of their time inside tasks"
    return f"{rate:,.0f} tasks per second, retries included ({processes})\n{after}"


def _with_space(*parts: RenderableType) -> list[RenderableType]:
    return [line for part in parts for line in ("", part)]


def by_job(summaries: Iterable[dict[str, Any]], prefix: str) -> dict[str, Line]:
    """The jobs, without the prefix of their ids, by name."""
    lines = {one["job_id"].removeprefix(prefix): _line(one, "total_tasks", one["waste"]) for one in summaries}
    return dict(sorted(lines.items()))


def by_task(summaries: Iterable[dict[str, Any]]) -> dict[str, Line]:
    """The tasks of all jobs, the most expensive first."""
    return _sum(
        (part["task_name"], _line(part, waste=summary["waste"]["by_task"].get(part["task_name"])))
        for summary in summaries
        for part in summary["task_breakdown"]
    )


def by_model(summaries: Iterable[dict[str, Any]]) -> dict[str, Line]:
    """The models of all jobs, the most expensive first; attempts that called none are left out."""
    parts = (part for summary in summaries for part in summary["model_usage"] if part["model"] != "none")
    return _sum((part["model"], _line(part)) for part in parts)


def table(title: str, lines: dict[str, Line], *, uses: str = "executions", is_attempts: bool = True) -> Table:
    """A table with a line for each, and a total; of very many only the first. Attempts take time, and may be wasted."""
    found = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE, show_edge=False, show_footer=True
    )
    shown = list(lines.items())[:MOST_JOBS]
    hidden = len(lines) - len(shown)
    cells = [_cells(name, line, is_attempts=is_attempts) for name, line in shown]
    footer = _cells(f"all {len(lines)}" if hidden else "all", total(lines), is_attempts=is_attempts)
    heads = ("", uses, "tokens", "cost USD", *(["wasted USD", "mean ms"] if is_attempts else []))
    for head, foot in zip(heads, footer, strict=True):
        found.add_column(head, foot, justify="right" if head else "left", no_wrap=True)
    for row in cells:
        found.add_row(*row)
    if hidden:
        found.add_row(f"and {hidden} more", style="dim")
    return found


def money(line: Line) -> str:
    """A cost in USD; what has no price is not free.

    >>> money(Line(cost_usd=Decimal("1.5"), tokens=9)), money(Line(tokens=9, unpriced_tokens=9))
    ('1.5000', 'no price')
    """
    if line.tokens and line.unpriced_tokens == line.tokens:
        return "no price"
    return f"{line.cost_usd:,.4f}{' *' if line.unpriced_tokens else ''}"


def _cells(name: str, line: Line, *, is_attempts: bool) -> list[str]:
    mean_ms = f"{line.latency_ms / line.uses:,.1f}" if line.uses else "-"
    of_attempts = [f"{line.wasted_usd:,.4f}", mean_ms] if is_attempts else []
    return [name, f"{line.uses:,}", f"{line.tokens:,}", money(line), *of_attempts]


def _line(part: dict[str, Any], count: str = "count", waste: dict[str, Any] | None = None) -> Line:
    return Line(
        part[count],
        part["total_tokens"],
        part["unpriced_tokens"],
        Decimal(part["total_cost"]),
        Decimal(part.get("total_latency_ms", 0)),
        Decimal(waste["total_cost"] if waste else 0),
    )


def _sum(parts: Iterable[tuple[str, Line]]) -> dict[str, Line]:
    lines: defaultdict[str, Line] = defaultdict(Line)
    for name, line in parts:
        lines[name] = lines[name].plus(line)
    return dict(sorted(lines.items(), key=lambda item: (-item[1].cost_usd, item[0])))
