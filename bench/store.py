"""``make bench-store``: how long the API takes at ten thousand and at ten million rows, and whether it is right.

Every call is asked of both databases in turns. What it says is compared with plain SQL over the rows, to the last digit
(percentiles: within 5 %), and at the larger database their times too.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.embedded import EmbeddedStack
from aurea_celery.models import upgrade_database
from aurea_celery.storage.database import create_engine
from bench import filled
from bench.ratio import Spread
from bench.store_questions import QUESTIONS, Question

SMALL_ROWS, LARGE_ROWS = 10_000, 10_000_000
CALLS, MOST_SECONDS = 100, 20.0  # the 99th percentile of a hundred is the slowest but one
PLAIN_CALLS = 3
RESULTS = Path(__file__).with_name("STORE.md")
TEXT = """\
# The store, as it grows

Repeat with `make bench-store`, which takes a quarter of an hour; `ARGS="--rows 1000000"` takes a minute or two. Last
run: {when}, {cores} cores.

Two databases hold a year of 200 tasks, 30 models and a job for each 33 rows, one job with a tenth of all; the month is
the last one. Each call is asked of both in turns, at most {calls} times. Its figures are those of plain SQL over the
rows, to the last digit (percentiles: within 5 %), else the benchmark fails. SQL ms is the time of that SQL on the
larger one.

{sizes}

{table}

What is about jobs costs the same whatever there is. What is about a month is read from sums of its days and hours by
one name at a time (docs/decisions/0030-condensed-sums.md), and so is the month before, which totals are compared with.
"""


class Filled(NamedTuple):
    """A database with rows, and the API on it."""

    rows: int
    until: datetime
    client: FlaskClient
    engine: sa.Engine
    size: str

    def ask(self, question: Question) -> tuple[float, Any]:
        """Milliseconds, and the figures that the API gives."""
        path = question.address(self.until)
        begun = time.perf_counter()
        answer = self.client.get(path)
        took = time.perf_counter() - begun
        assert answer.status_code == 200, f"{path}: {answer.get_data(as_text=True)[:500]}"
        return took * 1000, question.answer(answer.data)

    def ask_plainly(self, question: Question) -> tuple[float, Any]:
        """Milliseconds, and the figures that plain SQL over the rows gives."""
        with self.engine.connect() as connection:
            connection.execute(sa.text("SET statement_timeout = 0"))
            begun = time.perf_counter()
            rows = connection.execute(sa.text(question.sql), question.times(self.until)).all()
            return (time.perf_counter() - begun) * 1000, [tuple(row) for row in rows]


@contextmanager
def filled_database(rows: int) -> Iterator[Filled]:
    """A private server with so many rows."""
    with EmbeddedStack(broker_url="unused://") as stack:
        upgrade_database(stack.database_url)
        engine, until = create_engine(stack.database_url), filled.now()
        begun = time.perf_counter()
        with engine.connect() as connection:
            filled.fill(connection, rows, until)
        with engine.connect() as connection:
            filled.analyze(connection)
            sizes = filled.bytes_per_row(connection, rows)
        parts = ", ".join(f"{size:.0f} in {name}" for name, size in sizes.items())
        size = f"- {rows:,} rows: {sum(sizes.values()):.0f} bytes a row, {parts}"
        print(f"{size}; filled in {time.perf_counter() - begun:.0f} s", flush=True)
        yield Filled(rows, until, create_app(stack.database_url).test_client(), engine, size)
        engine.dispose()


def measure(small: Filled, large: Filled, question: Question) -> str:
    """One line of a table.

    Raises:
        AssertionError: If the API and plain SQL do not say the same.
    """
    for database in (small, large):
        question.compare(database.ask(question)[1], database.ask_plainly(question)[1])
    times: dict[int, list[float]] = {small.rows: [], large.rows: []}
    until = time.monotonic() + MOST_SECONDS
    while len(times[large.rows]) < CALLS and (time.monotonic() < until or not times[large.rows]):
        for database in (small, large):
            times[database.rows].append(database.ask(question)[0])
    plain = Spread.of([large.ask_plainly(question)[0] for _ in range(PLAIN_CALLS)])
    at_small, at_large = (sorted(times[database.rows]) for database in (small, large))
    ratio = _middle(at_large) / _middle(at_small)
    faster = plain.middle / _middle(at_large)
    figures = (_middle(at_small), _p99(at_small), _middle(at_large), _p99(at_large))
    cells = [question.name, *(f"{figure:.1f}" for figure in figures), f"{ratio:.2f}", f"{plain.middle:,.0f}"]
    return f"| {' | '.join(cells)} | {faster:,.0f} |"


def _p99(times: list[float]) -> float:
    return times[math.ceil(len(times) * 0.99) - 1]


def _middle(times: list[float]) -> float:
    return times[len(times) // 2]


def main(large_rows: int) -> str:
    """Fill, compare, measure; the text that is kept."""
    with ExitStack() as closing:
        small, large = (closing.enter_context(filled_database(rows)) for rows in (SMALL_ROWS, large_rows))
        at = "p50 ms at {:,} rows | p99"
        lines = [f"| call | {at.format(SMALL_ROWS)} | {at.format(large_rows)} | ratio | SQL ms | times faster |"]
        lines.append("|---|---|---|---|---|---|---|---|")
        for question in QUESTIONS:
            lines.append(measure(small, large, question))
            print(lines[-1], flush=True)
        cores, when = os.cpu_count(), datetime.now(UTC).date()
        sizes = f"{small.size}\n{large.size}"
        return TEXT.format(when=when, cores=cores, sizes=sizes, calls=CALLS, table="\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-store", description=__doc__)
    parser.add_argument("--rows", type=int, default=LARGE_ROWS, help="of the larger database (default: 10,000,000)")
    parser.add_argument("--dry", action="store_true", help="print only; leave bench/STORE.md as it is")
    options = parser.parse_args()
    found = main(options.rows)
    if not options.dry:
        RESULTS.write_text(found)
