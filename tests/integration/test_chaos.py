"""A short form of the fault programme (docs/chaos.md): a fixed seed, and a bug on purpose that it must find."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from chaos.__main__ import CLEAN, FOUND, main
from tests.support.installation import ROOT
from tests.support.processes import Process, processes_with

SMALL = ["--workers", "2", "--writers", "2", "--pause-ms", "5"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and output of a run."""
    status = main([*SMALL, *arguments])
    return status, capsys.readouterr().out


@pytest.mark.usefixtures("system_postgres")
def test_nothing_is_lost_nothing_twice_whatever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run(capsys, "--seed", "11", "--tasks", "1500", "--faults", "12")

    assert status == CLEAN, said
    assert "seed 11, 1500 tasks, 12 faults" in said
    assert "12 faults, " in said
    assert "lost 0, duplicated 0, wrong 0" in said


@pytest.mark.usefixtures("system_postgres")
def test_a_writer_that_acknowledges_before_its_commit_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Not every kill meets a batch: whatever a writer asks of the database is held, and the kill follows."""
    arguments = ["--bug", "ack-before-commit", "--kinds", "writers_killed_before_commit"]
    status, said = run(capsys, "--seed", "1", "--tasks", "600", "--faults", "5", *arguments)

    assert status == FOUND, said
    assert "has no row" in said
    assert "lost 0" not in said.splitlines()[-1]


@pytest.mark.usefixtures("system_postgres")
def test_a_run_that_is_told_to_end_leaves_nothing_behind(server_folder: Path, tmp_path: Path) -> None:
    folder = server_folder / "told-to-end"
    folder.mkdir(mode=0o755)
    kinds = ["--kinds", "child_frozen", "worker_frozen", "database_crashed", "broker_killed"]
    command = [sys.executable, "-m", "chaos", *SMALL, "--tasks", "5000", "--faults", "100", *kinds]
    environ = {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "RUN": folder.name}
    run = Process("run", command, folder=tmp_path, environ=environ)
    run.wait_for(" begun ")

    run.send(signal.SIGTERM)

    assert run.wait() == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []
    assert processes_with(f"RUN={folder.name}") == []
