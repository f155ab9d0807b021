"""A short form of the fault programme (docs/chaos.md): a fixed seed, and a bug on purpose that it must find."""

from __future__ import annotations

import pytest

from chaos.__main__ import CLEAN, FOUND, main

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
    arguments = ["--bug", "ack-before-commit", "--kinds", "writers_killed_before_commit"]
    status, said = run(capsys, "--seed", "1", "--tasks", "300", "--faults", "2", *arguments)

    assert status == FOUND, said
    assert "has no row" in said
    assert "lost 0" not in said.splitlines()[-1]
