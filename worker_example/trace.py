"""Reading a trace: a CSV file with the columns ``TIMESTAMP, ContextTokens, GeneratedTokens``, one row per model call.

Strict: the first thing that is not as it should be ends the reading with one sentence that names file and line.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from worker_example.errors import ExampleError

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MAX_TOKENS = 1_000_000_000


class Row(NamedTuple):
    """One model call of a trace; a time without a zone is taken as UTC."""

    at: datetime
    input_tokens: int
    output_tokens: int


def read_trace(path: Path, limit: int | None = None) -> list[Row]:
    """The first ``limit`` rows of a trace, or all of them.

    Raises:
        ExampleError: If the file cannot be read, is not such a file, or has fewer rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, file, limit))
    except OSError as error:
        raise ExampleError(f"cannot read the trace {path}: {error.strerror}; check --trace") from None
    except UnicodeDecodeError:
        raise ExampleError(f"the trace {path} is not a text file in UTF-8; check --trace") from None
    if not rows or len(rows) < (limit or 0):
        wanted = f"but --tasks asks for {limit:,}; ask for fewer" if limit and rows else "so there is nothing to replay"
        raise ExampleError(f"the trace {path} has {len(rows):,} rows, {wanted}")
    return rows


def _rows(path: Path, file: Iterable[str], limit: int | None) -> Iterator[Row]:
    lines = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        places = _places(header)
        for cells in itertools.islice(lines, limit):
            yield _row(cells, places, len(header))
    except UnicodeDecodeError:
        raise
    except (csv.Error, ValueError) as error:
        raise ExampleError(f"{path}, line {max(1, lines.line_num)}: {error}") from None


def _places(header: list[str]) -> list[int]:
    """Where the columns are.

    Raises:
        ValueError: With half a sentence on the one that is missing.
    """
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(f"the column {missing[0]} is missing; a trace has {', '.join(COLUMNS)}")
    return [header.index(name) for name in COLUMNS]


def _row(cells: list[str], places: list[int], width: int) -> Row:
    """One row.

    Raises:
        ValueError: With half a sentence on what is wrong with it.
    """
    if len(cells) != width:
        raise ValueError(f"{len(cells)} fields where the header has {width}")
    at, *tokens = (cells[place].strip() for place in places)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise ValueError("TIMESTAMP is not a time like 2023-11-16 18:15:46.6805900") from None
    counts = [_count(name, text) for name, text in zip(COLUMNS[1:], tokens, strict=True)]
    return Row(moment if moment.tzinfo else moment.replace(tzinfo=UTC), *counts)


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MAX_TOKENS):
        raise ValueError(f"{name} is not a whole number from 0 to {MAX_TOKENS:,}")
    return int(text)
