"""The ledger has every execution, whatever its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_example.ledger import LEDGER_VARIABLE, Entry, Ledger, append, execution


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger"
    monkeypatch.setenv(LEDGER_VARIABLE, str(path))
    return path


def test_an_execution_is_one_line(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.read() == 0
    with execution("a") as spent:
        spent.input_tokens, spent.output_tokens = 10, 2
    assert ledger.read() == 1
    assert ledger.executions() == {("a", 10, 2): 1}


def test_a_failed_execution_is_a_line_too(path: Path) -> None:
    def fail() -> None:
        with execution("a") as spent:
            spent.input_tokens = 10
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    ledger = Ledger(path)
    ledger.read()
    assert ledger.executions() == {("a", 10, 0): 1}


def test_reading_while_it_grows(path: Path) -> None:
    ledger = Ledger(path)
    for number in range(1, 4):
        append(path, Entry(number, "t", number, 1))
        assert ledger.read() == number
    with path.open("ab") as file:
        file.write(b"4 t 4")  # half a line
        file.flush()
        assert ledger.read() == 3
        file.write(b" 1\n")
    assert ledger.read() == 4
    assert (ledger.input_tokens, ledger.output_tokens, ledger.last_end_ns) == (10, 4, 4)


def test_without_a_ledger_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER_VARIABLE, raising=False)
    with execution("a") as spent:
        spent.input_tokens = 1
    assert spent.input_tokens == 1
