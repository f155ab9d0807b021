"""A few seconds of ``make fuzz``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import ROOT

pytest.importorskip("atheris", reason="there is no wheel of it for this Python or system")


def test_nothing_that_coverage_guides_to_breaks_the_decoder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz", "--seconds", "3", "--findings", str(tmp_path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
    assert not list(tmp_path.iterdir())
