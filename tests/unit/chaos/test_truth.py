"""What the tasks write down is read as it grows, also on a disk that is full for everything else."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import disk
from chaos.schedule import Call
from chaos.truth import Execution, Ledger, Truth


def test_lines_become_executions(tmp_path: Path) -> None:
    ledger, truth = Ledger(tmp_path / "truth"), Truth(tmp_path / "truth")
    truth.read()
    assert not truth.executions
    ledger.append("prepared", "a", "task", "job-1", 1, 20, 10, 1.5, True)
    ledger.append("begun", "a")
    ledger.append("calling", "a", "gpt-4", 5, 6)
    truth.read()
    ledger.append("called", "a")
    ledger.append("calling", "a", "gpt-4", 7, 8)
    ledger.append("ended", "a", "failure")
    truth.read()

    calls = [Call("gpt-4", 5, 6), Call("gpt-4", 7, 8)]
    assert truth.executions == {"a": Execution("a", "task", "job-1", 1, 20, 10, 1.5, True, True, calls, 1, "failure")}
    assert (truth.begun_count, truth.line_count) == (1, 6)


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    truth = Truth(path)
    path.write_text("prepared a task job-1 0 20 10 1.5 False\nbeg")
    truth.read()
    path.write_text("prepared a task job-1 0 20 10 1.5 False\nbegun a\n")
    truth.read()
    assert truth.executions["a"].begun


FULL = """
import sys
from pathlib import Path
from chaos import disk
from chaos.truth import Ledger
folder = Path(sys.argv[1])
full_disk = disk.Disk(folder / "flag")
assert full_disk.obey()
try:
    (folder / "other").write_text("does not fit")
except OSError as error:
    print(error.errno)
for number in range(1000):
    Ledger(folder / "truth").append("begun", f"{number}")
(folder / "flag").unlink()
assert full_disk.obey(), "an outbox that met it tries again in a second"
(folder / "other").write_text("fits")
"""


def test_a_full_disk_refuses_all_but_the_truth(tmp_path: Path) -> None:
    disk.fill(tmp_path / "flag", 3)
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3]
    )
    assert done.stdout == "27\n", "EFBIG"
    assert (tmp_path / "other").read_text() == "fits"
    assert len((tmp_path / "truth").read_text().splitlines()) == 1000


def test_without_a_flag_nothing_is_limited(tmp_path: Path) -> None:
    assert not disk.Disk(tmp_path / "flag").obey()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_unknown_execution_is_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "truth").write_text("begun nobody\n")
    with pytest.raises(KeyError):
        Truth(tmp_path / "truth").read()
