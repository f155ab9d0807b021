"""A user's first session, as the README has it: a ten-line app, a worker, the writer, the API, curl."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import Installation
from tests.support.servers import accepts, free_port, wait_until

APP = """\
from celery import Celery
from aurea_celery import Aurea, monitor_task

app = Celery("shop", broker="{broker_url}")
Aurea(app)


@app.task
@monitor_task(task_name="summarise", model_used="gpt-4")
def summarise(text):
    return f"{{text[:5]}}...", len(text)
"""

CLIENT = """\
from aurea_celery import job
from app import summarise

with job("orders/2026"):
    for number in range(10):
        summarise.delay("x" * 100)
"""


@pytest.fixture(scope="module")
def fresh_scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console scripts of an environment that has this package and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", f"{folder}/bin/python", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-compile", f"{wheel}"], check=True, timeout=280)
    return folder / "bin"


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        assert response.headers["Content-Type"] == "application/json"
        return json.load(response)


def test_the_first_five_minutes(tmp_path: Path, each_broker_url: str, empty_database_url: str) -> None:
    spend_five_minutes(tmp_path, each_broker_url, empty_database_url, Path(sys.executable).parent)


def test_the_first_five_minutes_in_a_new_environment(
    tmp_path: Path, broker_url: str, empty_database_url: str, fresh_scripts: Path
) -> None:
    spend_five_minutes(tmp_path, broker_url, empty_database_url, fresh_scripts)


def spend_five_minutes(tmp_path: Path, each_broker_url: str, empty_database_url: str, scripts: Path) -> None:
    """Do what the README says, with the console scripts of an environment."""

    def script(name: str) -> str:
        return str(scripts / name)

    (tmp_path / "app.py").write_text(APP.format(broker_url=each_broker_url))
    (tmp_path / "client.py").write_text(CLIENT)
    port = free_port()
    with Installation(tmp_path, each_broker_url, empty_database_url) as session:
        environ = {"PORT": str(port), "PYTHONPATH": str(tmp_path)}  # not the checkout
        upgrade = [script("celery"), "-A", "app", "aurea", "db", "upgrade"]
        assert session.start("upgrade", upgrade, environ).wait() == 0
        celery = [script("celery"), "-A", "app"]
        session.start("worker", [*celery, "worker", "-l", "INFO", "--concurrency", "2"], environ).wait_for(" ready.")
        session.start("writer", [*celery, "aurea", "writer"], environ).wait_for(" ready.")
        serve = session.start("serve", [script("aurea"), "serve"], environ)
        wait_until(lambda: accepts(port), "the API listening")
        assert session.start("client", [script("python"), "client.py"], environ).wait() == 0
        session.wait_for_executions(10)

        assert get(port, "/health")["status"] == "healthy"
        answer = get(port, "/metrics/jobs/orders%2F2026")
        details = get(port, "/metrics/jobs/orders%2F2026/details?limit=3")
        jobs = get(port, "/metrics/jobs")
        check = session.start("check", [script("aurea"), "check"], environ)
        assert check.wait() == 0
        serve.stop()

    documented = {
        "job_id": "orders/2026",
        "total_tasks": 10,
        "total_tokens": 1000,
        "total_cost": 0.03,
        "avg_cost": 0.003,
    }
    assert {name: answer[name] for name in documented} == documented
    assert answer["total_latency_ms"] > 0
    assert answer["avg_latency_ms"] * 10 - answer["total_latency_ms"] < 0.01
    (task,) = answer["task_breakdown"]
    assert (task["task_name"], task["count"], task["total_cost"]) == ("summarise", 10, 0.03)
    (model,) = answer["model_usage"]
    assert (model["model"], model["count"], model["total_tokens"], model["total_cost"]) == ("gpt-4", 10, 1000, 0.03)
    assert details["count"] == len(details["metrics"]) == 3
    assert [job["job_id"] for job in jobs["jobs"]] == ["orders/2026"]
    assert "Everything is accounted for: 10 executions captured, 10 written." in check.log
