"""The plugin comes from outside: an app that does not know it, its worker, and rows."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.installation import ROOT, Installation
from tests.support.servers import wait_until

APP = """\
import os
from pathlib import Path
from celery import Celery

app = Celery("shop", broker=os.environ["BROKER_URL"])


@app.task
def work():
    Path(os.environ["TRUTH"]).write_text("done")
    return {"model": "gpt-4", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
"""

OWN_PLUGIN = """

from aurea_celery import Aurea
Aurea(app, queue="own_metrics")
"""


def add_app(installation: Installation, code: str) -> None:
    """Write the user's module where the processes run."""
    (installation.folder / "shop.py").write_text(code)


def call(installation: Installation, **environ: str) -> None:
    """Call the task as a user may, with Celery's own command."""
    assert installation.run("call", ["celery", "-A", "shop", "call", "shop.work"], environ).wait() == 0


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (["-c", "2"], {"AUREA_AUTOINSTALL": "1"}),
        (["-P", "threads", "-c", "2"], {"AUREA_AUTOINSTALL": "yes"}),
        (["-c", "2", "-I", "aurea_celery.autoinstall"], {}),
    ],
    ids=["variable", "variable-threads", "include"],
)
def test_executions_are_rows(installation: Installation, options: list[str], environ: dict[str, str]) -> None:
    add_app(installation, APP)
    worker = installation.worker(*options, app="shop", **environ)
    writer = ["celery", "-A", "shop", "aurea", "writer"]
    installation.run("writer", writer, {"AUREA_AUTOINSTALL": "1"}).wait_for(" ready.")

    call(installation, AUREA_AUTOINSTALL="1")
    installation.wait_for_executions(1)

    rows = installation.query(
        "SELECT task_name, status, model_used, token_count, broker_wait_ms IS NOT NULL FROM metrics"
    )
    assert rows == [("shop.work", "success", "gpt-4", 7, True)]
    assert "internal fault" not in worker.log
    assert worker.end(signal.SIGTERM) == 0
    assert not list(installation.outbox.glob(f"*/{worker.pid}-*")), "the worker left a folder behind"


def test_the_apps_own_plugin_is_the_only_one(installation: Installation) -> None:
    add_app(installation, APP + OWN_PLUGIN)
    installation.worker("-c", "1", app="shop", AUREA_AUTOINSTALL="1", AUREA_BUDGET_REFRESH_SECONDS="0")

    call(installation, AUREA_AUTOINSTALL="1")
    wait_until(lambda: installation.length_of("own_metrics") == 1, "the event in the app's own queue")

    assert installation.length_of("aurea_metrics") == 0


def test_without_the_variable_nothing_is_there(installation: Installation, tmp_path: Path) -> None:
    add_app(installation, APP)
    worker = installation.worker("-c", "1", app="shop")

    call(installation)
    wait_until(lambda: (tmp_path / "truth").read_text() == "done", "the task")

    assert worker.end(signal.SIGTERM) == 0
    assert not installation.outbox.exists()
    assert installation.length_of("aurea_metrics") == 0
    assert "aurea" not in worker.log.replace(str(ROOT), ""), "wherever the project lies"
