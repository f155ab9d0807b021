"""Sending without a broker. With one it is run by tests/integration/test_compose.py."""

from __future__ import annotations

import subprocess
import sys

from tests.support.installation import ROOT
from tests.support.processes import clean_environ


def test_a_broker_that_is_away_is_one_sentence() -> None:
    environ = {**clean_environ(), "BROKER_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "worker_example.send"]
    sent = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (sent.returncode, sent.stdout) == (1, "")
    assert sent.stderr == "send: the broker at BROKER_URL does not answer; start it, or unset BROKER_URL\n"
