"""No scenario exists over containers only, where a machine without Docker would never run it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.installation import ROOT


def test_whatever_needs_docker_runs_over_processes_too() -> None:
    with_containers = collected("docker", "tests")
    with_processes = {name.replace("[containers]", "[processes]") for name in with_containers}

    assert with_containers, "nothing runs over containers"
    assert with_processes.isdisjoint(with_containers), "a test needs Docker without being a scenario over both"
    assert with_processes == collected("not docker", *with_processes)


def collected(marks: str, *where: str) -> set[str]:
    """The tests that such marks select, by their ids."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", marks, *where]
    environ = {**os.environ, "PYTEST_ADDOPTS": ""}  # which may ask for another form
    found = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=120)
    return {line for line in found.stdout.splitlines() if "::" in line}
