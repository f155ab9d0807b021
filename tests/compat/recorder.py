"""A pytest plugin for Celery's own suite: writes each outcome down as it is known, so that a crash leaves the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


class Recorder:
    """Appends one line of JSON for each report that says something: test, outcome, reason."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called for each module; one that cannot be imported is an outcome too."""
        if report.outcome != "passed":
            self._write(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each phase of each test."""
        if report.when == "call" or report.outcome != "passed":
            self._write(report)

    def _write(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
        line = {"test": report.nodeid, "outcome": outcome, "reason": _reason(report)}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """The last line of what pytest says about a failure or a skip."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr or "").strip()
    return text.splitlines()[0 if crash is not None else -1][:160] if text else ""


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest at its start."""
    config.pluginmanager.register(Recorder(Path(os.environ["OUTCOMES"])))
