"""The proof finds what does not agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from worker_example.books import Books
from worker_example.ledger import Entry, Ledger
from worker_example.proof import Proof, Rows, Totals, api_totals, planned_totals, read_rows
from worker_example.workload import Ask, Job, Piece


def good(tmp_path: Path) -> Proof:
    ledger = Ledger(tmp_path / "none")
    ledger.entries += [Entry(1, "a", 10, 2), Entry(2, "a", 0, 0), Entry(3, "b", 5, 1)]
    executions = Counter({("a", 10, 2): 1, ("a", 0, 0): 1, ("b", 5, 1): 1})
    totals = Totals(3, 15, 3)
    return Proof(totals, ledger, Books(3, 3, 0, 0, 0), totals, Rows(executions, Counter(success=2, retry=1)))


def test_what_agrees(tmp_path: Path) -> None:
    assert good(tmp_path).differences() == []
    assert good(tmp_path)._replace(planned=None).differences() == []


CHANGES: dict[str, Callable[[Proof], Proof]] = {
    "planned were": lambda proof: proof._replace(planned=Totals(3, 15, 4)),
    "not everything": lambda proof: proof._replace(books=Books(3, 2, 0, 1, 0)),
    "executions were captured": lambda proof: proof._replace(books=Books(2, 2, 0, 0, 0)),
    "the API says": lambda proof: proof._replace(said=Totals(3, 16, 3)),
    "no counterpart": lambda proof: proof._replace(rows=Rows(Counter({("a", 10, 2): 3}), Counter())),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_what_differs_is_said(tmp_path: Path, sentence: str) -> None:
    (found,) = CHANGES[sentence](good(tmp_path)).differences()
    assert sentence in found


@pytest.mark.parametrize(
    "books", [Books(3, 2, 1, 0, 0), Books(3, 2, 0, 1, 0), Books(3, 2, 0, 0, 1), Books(3, 4, 0, 0, 0)]
)
def test_books_that_do_not_balance(books: Books) -> None:
    assert not books.balanced


def test_books_since() -> None:
    assert Books(5, 4, 1, 0, 0).since(Books(3, 2, 1, 0, 0)) == Books(2, 2, 0, 0, 0)


def test_the_line_of_the_books() -> None:
    assert str(Books(5000, 5000, 0, 0, 0)) == "captured 5000  written 5000  rejected 0  pending 0  lost 0"


def test_an_overloaded_attempt_is_an_execution_without_tokens() -> None:
    job = Job("j", (Piece("single", (Ask("embed", 10, 0, overloads=2),)), Piece("single", (Ask("classify", 5, 1),))))
    assert planned_totals([job]) == Totals(4, 15, 1)


def test_the_api_of_no_job_and_of_two() -> None:
    assert api_totals([]) == Totals(0, 0, 0)
    one = {"total_tasks": 2, "input_tokens": 10, "output_tokens": 1}
    assert api_totals([one, one]) == Totals(4, 20, 2)


def test_rows_without_tokens() -> None:
    row = {"task_id": "a", "input_tokens": None, "output_tokens": None, "status": "retry"}
    assert read_rows([row, row]) == Rows(Counter({("a", 0, 0): 2}), Counter(retry=2))
