"""The trace: what is right is read as it is, what is wrong is named with file and line."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_example.errors import ExampleError
from worker_example.trace import Row, read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.6805900,374,44\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path, limit: int | None = None) -> str:
    with pytest.raises(ExampleError) as caught:
        read_trace(path, limit)
    assert caught.value.status == 2
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_a_row_of_the_published_trace(tmp_path: Path) -> None:
    at = datetime(2023, 11, 16, 18, 15, 46, 680590, UTC)
    assert read_trace(write(tmp_path, HEADER + GOOD)) == [Row(at, 374, 44)]


rows = st.lists(
    st.builds(
        Row,
        st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=20,
)


@given(rows, st.permutations([0, 1, 2]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, found: list[Row], order: list[int], end: str, bom: bool
) -> None:
    names = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
    lines = [names, *([row.at.isoformat(" "), f"{row.input_tokens}", f"{row.output_tokens}"] for row in found)]
    text = "".join(",".join(cells[place] for place in order) + end for cells in lines)
    path = write(tmp_path_factory.getbasetemp(), ("\N{ZERO WIDTH NO-BREAK SPACE}" if bom else "") + text)
    assert read_trace(path) == found
    assert read_trace(path, 1) == found[:1]


@given(st.text())
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"))
    assert refusal(path)  # without its header no text is a trace


@given(st.text(), st.text(), st.text())
def test_any_cells_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: str, context: str, generated: str
) -> None:
    line = f"{at},{context},{generated}\n".encode("utf-8", "replace")
    path = write(tmp_path_factory.getbasetemp(), HEADER.encode() + line)
    with contextlib.suppress(ExampleError):
        assert all(row.input_tokens >= 0 and row.output_tokens >= 0 for row in read_trace(path))


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("TIMESTAMP,ContextTokens\n", 1, "the column GeneratedTokens is missing"),
        ("", 1, "the column TIMESTAMP is missing"),
        (HEADER + GOOD + "2023-11-16 18:15:46,12\n", 3, "2 fields where the header has 3"),
        (HEADER + GOOD + "\n", 3, "0 fields where the header has 3"),
        (HEADER + "yesterday,1,2\n", 2, "TIMESTAMP is not a time"),
        (HEADER + GOOD + GOOD + "2023-11-16 18:15:46,1.5,2\n", 4, "ContextTokens is not a whole number"),
        (HEADER + "2023-11-16 18:15:46,1,-2\n", 2, "GeneratedTokens is not a whole number"),
        (HEADER + "2023-11-16 18:15:46,1,\n", 2, "GeneratedTokens is not a whole number"),
        (HEADER + "2023-11-16 18:15:46,1,99999999999\n", 2, "GeneratedTokens is not a whole number"),
        (HEADER + "2023-11-16 18:15:46,1,²\n", 2, "GeneratedTokens is not a whole number"),
        (HEADER + GOOD + '2023-11-16 18:15:46,"1"1,2\n', 3, "expected after"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, line: int, what: str) -> None:
    sentence = refusal(write(tmp_path, text))
    assert f"line {line}: " in sentence
    assert what in sentence


def test_a_bad_row_beyond_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    assert len(read_trace(write(tmp_path, HEADER + GOOD + "bad\n"), 1)) == 1


def test_what_is_no_trace(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.csv")
    assert "directory" in refusal(tmp_path)
    assert "UTF-8" in refusal(write(tmp_path, HEADER.encode() + b"\xff\xfe,1,2\n"))
    assert "nothing to replay" in refusal(write(tmp_path, HEADER))


def test_fewer_rows_than_asked_for(tmp_path: Path) -> None:
    sentence = refusal(write(tmp_path, HEADER + GOOD), 5000)
    assert "has 1 rows, but --tasks asks for 5,000" in sentence
