"""In a user's own tests nothing is recorded unless the user says so; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import clean_environ

APP = """
from celery import Celery
from aurea_celery import Aurea, monitor_task, record_usage, record_stream

app = Celery("shop", broker="memory://")
{configuration}
Aurea(app{arguments})

@app.task
@monitor_task("job", "summarise", "gpt-4")
def summarise():
    record_usage(input_tokens=1000, output_tokens=1)
    list(record_stream(iter([])))
    return "text"
"""
TESTS = """
import shop

def test_called():
    assert shop.summarise() == "text"
    shop.record_usage(input_tokens=1, output_tokens=1)
    list(shop.record_stream(iter([])))

def test_again():
    assert shop.summarise() == "text"
"""
OFF = "nothing is recorded, because pytest is loaded in this process"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a developer's."""
    paths = {"AUREA_OUTBOX_DIR": str(tmp_path / "outbox"), "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    return clean_environ() | paths | {"AUREA_SHUTDOWN_FLUSH_SECONDS": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(folder: Path, environ: dict[str, str], *command: str, arguments: str = "", configuration: str = "") -> str:
    """Run a program beside the user's app; what it said."""
    (folder / "shop.py").write_text(APP.format(arguments=arguments, configuration=configuration))
    (folder / "test_shop.py").write_text(TESTS)
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


PYTEST = (
    "-m",
    "pytest",
    "-p",
    "no:cacheprovider",
    "-o",
    "log_cli=true",
    "-c",
    "/dev/null",
    "--rootdir=.",
    "test_shop.py",
)


def test_nothing_is_recorded_and_that_is_said_once(tmp_path: Path, environ: dict[str, str]) -> None:
    said = run(tmp_path, environ, *PYTEST)

    assert not (tmp_path / "outbox").exists()
    assert said.count(OFF) == said.count("aurea-celery:") == 1, said


def test_nothing_is_said_if_it_is_turned_off(tmp_path: Path, environ: dict[str, str]) -> None:
    said = run(tmp_path, environ | {"AUREA_ENABLED": "0"}, *PYTEST)

    assert not (tmp_path / "outbox").exists()
    assert "aurea-celery:" not in said


@pytest.mark.parametrize(
    ("arguments", "configuration", "variables"),
    [
        ("", "", {"AUREA_ENABLED": "1"}),
        (", enabled=True", "", {}),
        ("", "app.conf.aurea_enabled = True", {}),
    ],
)
def test_it_is_recorded_if_the_user_says_so(
    tmp_path: Path, environ: dict[str, str], arguments: str, configuration: str, variables: dict[str, str]
) -> None:
    said = run(tmp_path, environ | variables, *PYTEST, arguments=arguments, configuration=configuration)

    assert list((tmp_path / "outbox").iterdir())
    assert OFF not in said


def test_a_process_that_a_test_starts_records(tmp_path: Path, environ: dict[str, str]) -> None:
    """A worker inherits the environment of the test that started it."""
    said = run(
        tmp_path, environ | {"PYTEST_CURRENT_TEST": "test_shop.py::test (call)"}, "-c", "import shop; shop.summarise()"
    )

    assert list((tmp_path / "outbox").iterdir())
    assert OFF not in said


def test_a_recorder_records_all_the_same(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "test_recorder.py").write_text(
        "import shop\n"
        "from aurea_celery.testing import recording\n"
        "def test_recorder():\n"
        "    with recording(shop.app) as recorder:\n"
        "        shop.summarise()\n"
        "    assert recorder.tokens == 1001\n"
    )

    run(tmp_path, environ, *PYTEST, "test_recorder.py")

    assert not (tmp_path / "outbox").exists()
