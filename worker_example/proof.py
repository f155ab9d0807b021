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


class Rows(NamedTuple):
    """The API's rows: how often each execution is there, and how many ended how."""

    executions: Counter[Execution]
    statuses: Counter[str]


def read_rows(rows: Iterable[dict[str, Any]]) -> Rows:
    """Take in the API's rows."""
    found = Rows(Counter(), Counter())
    for row in rows:
        found.executions[row["task_id"], row["input_tokens"] or 0, row["output_tokens"] or 0] += 1
        found.statuses[row["status"]] += 1
    return found


class Proof(NamedTuple):
    """Four accounts of one run; what a real model will use cannot be planned, so that then ``planned`` is None."""

    planned: Totals | None
    ledger: Ledger
    books: Books
    said: Totals
    rows: Rows

    def differences(self) -> list[str]:
        """Everything that does not agree, one sentence each; nothing if all is well."""
        happened = ledger_totals(self.ledger)
        unmatched = _unmatched(self.ledger.executions(), self.rows.executions)
        checks = (
            (self.planned in (None, happened), f"planned were {self.planned}, but the tasks did {happened}"),
            (self.books.balanced, "not everything that was captured is written"),
            (
                self.books.captured == happened.executions,
                f"{self.books.captured:,} executions were captured, but the tasks did {happened.executions:,}",
            ),
            (self.said == happened, f"the API says {self.said}, but the tasks did {happened}"),
            (not unmatched, f"{unmatched:,} executions or rows have no counterpart with the same tokens"),
        )
        return [sentence for holds, sentence in checks if not holds]


def _unmatched(one: Counter[Execution], other: Counter[Execution]) -> int:
    return ((one - other) + (other - one)).total()
