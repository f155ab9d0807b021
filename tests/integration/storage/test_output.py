"""What cannot be written is said in one sentence, and a reader that goes away is not spoken of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.many_rows import make_rows
from tests.support.processes import clean_environ

AUREA = (sys.executable, "-m", "aurea_celery.cli")
SENTENCE = "aurea: cannot write the output: no space left on device; what was written is incomplete\n"


def run(url: str, *command: str, stdout: int, **options: int) -> subprocess.CompletedProcess[str]:
    environ = {**clean_environ(), "DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command,
        env=environ,
        stdout=stdout,
        stderr=options.get("stderr", subprocess.PIPE),
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command",
    [
        (*AUREA, "export"),
        (*AUREA, "export", "--format", "parquet"),
        (*AUREA, "report"),
        (*AUREA, "check", "--json"),
        (*AUREA, "token"),
        (*AUREA, "--help"),
        (*AUREA, "prices", "list", "--help"),
    ],
    ids=lambda command: " ".join(command[3:]),
)
def test_a_full_disk_is_said(database_url: str, command: tuple[str, ...]) -> None:
    make_rows(database_url, 3)
    with Path("/dev/full").open("wb") as full:
        ended = run(database_url, *command, stdout=full.fileno())
        silent = run(database_url, *command, stdout=full.fileno(), stderr=full.fileno())

    assert (ended.returncode, ended.stderr) == (1, SENTENCE)
    assert silent.returncode == 1


@pytest.mark.parametrize("options", [("export",), ("report", "--json"), ("--help",)], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_left_quietly(database_url: str, options: tuple[str, ...]) -> None:
    make_rows(database_url, 20_000)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(database_url, *AUREA, *options, stdout=writing)
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_closed_output_is_said(database_url: str) -> None:
    ended = run(database_url, "/bin/sh", "-c", 'exec "$@" >&-', "sh", *AUREA, "export", stdout=subprocess.DEVNULL)

    assert (ended.returncode, ended.stderr) == (
        1,
        "aurea: there is no standard output to write to; redirect it to a file\n",
    )
