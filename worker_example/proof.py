"""The proof: the plan, the ledger, the books and the API say the same, or how they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from worker_example.books import Books
from worker_example.ledger import Ledger
from worker_example.workload import Job

Execution = tuple[str, int, int]


class Totals(NamedTuple):
    """Executions, and the tokens they used."""

    executions: int
    input_tokens: int
    output_tokens: int

    def __str__(self) -> str:
        """Readable.

        >>> print(Totals(2, 1000, 5))
        2 executions, 1,000 input and 5 output tokens
        """
        return f"{self.executions:,} executions, {self.input_tokens:,} input and {self.output_tokens:,} output tokens"


def planned_totals(jobs: list[Job]) -> Totals:
    """What is to happen with the simulated model: an attempt that finds it overloaded uses no tokens."""
    asks = [ask for job in jobs for ask in job.asks]
    return Totals(
        sum(ask.executions for ask in asks),
        sum(ask.input_tokens for ask in asks),
        sum(ask.output_tokens for ask in asks),
    )


def ledger_totals(ledger: Ledger) -> Totals:
    """What did happen."""
    return Totals(len(ledger.entries), ledger.input_tokens, ledger.output_tokens)


def api_totals(summaries: Iterable[dict[str, Any]]) -> Totals:
    """What the API says of all jobs."""
    names = ("total_tasks", "input_tokens", "output_tokens")
    counts = [[int(summary[name]) for name in names] for summary in summaries]
    return Totals(*map(sum, zip(*counts, strict=True))) if counts else Totals(0, 0, 0)


def api_executions(rows: Iterable[dict[str, Any]]) -> Counter[Execution]:
    """The executions in the API's rows: task id, input tokens, output tokens."""
    return Counter((row["task_id"], row["input_tokens"] or 0, row["output_tokens"] or 0) for row in rows)


def differences(
    *, planned: Totals | None, ledger: Ledger, books: Books, said: Totals, executions: Counter[Execution]
) -> list[str]:
    """Everything that does not agree, one sentence each; nothing if all is well.

    What a real model will use cannot be planned: then ``planned`` is None.
    """
    happened = ledger_totals(ledger)
    found = []
    if planned is not None and planned != happened:
        found.append(f"planned were {planned}, but the tasks did {happened}")
    if not books.balanced:
        found.append("not everything that was captured is written")
    if books.captured != happened.executions:
        found.append(f"{books.captured:,} executions were captured, but the tasks did {happened.executions:,}")
    if said != happened:
        found.append(f"the API says {said}, but the tasks did {happened}")
    wrong = (ledger.executions() - executions) + (executions - ledger.executions())
    if wrong:
        found.append(f"{wrong.total():,} executions of the ledger and rows of the API have no counterpart")
    return found
