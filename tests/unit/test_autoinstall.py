"""Installation without a line in the app: when it happens, and to which apps; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

PREAMBLE = """
from celery import Celery
from aurea_celery.capture.registry import door_of
from aurea_celery.plugin import Aurea

def plugin_of(app):
    return door_of(app).__self__ if door_of(app) else None
"""


def run(program: str, **environ: str) -> None:
    """Run a program that checks for itself."""
    environment = {**os.environ, **environ}
    subprocess.run([sys.executable, "-c", PREAMBLE + program], env=environment, check=True, timeout=60)


def test_an_app_that_is_there_already_has_it_at_once_and_is_not_finalised() -> None:
    run(
        "app = Celery('there', broker='memory://'); ready = Celery('ready', broker='memory://'); ready.finalize()\n"
        "import aurea_celery.autoinstall\n"
        "assert isinstance(plugin_of(app), Aurea) and isinstance(plugin_of(ready), Aurea)\n"
        "assert not app.finalized and 'aurea_celery.write_metrics' in ready.tasks"
    )


def test_a_later_app_has_it_when_it_is_finalised_and_may_be_configured_until_then() -> None:
    run(
        "import aurea_celery.autoinstall\n"
        "app = Celery('later'); assert plugin_of(app) is None\n"
        "def work(): ...\n"
        "app.task(work, name='mine'); assert not app.finalized\n"
        "app.finalize(); aurea = plugin_of(app)\n"
        "assert {'mine', 'aurea_celery.write_metrics'} <= set(app.tasks)\n"
        "app.conf.update(broker_url='memory://', aurea_queue='chosen_late')\n"
        "assert aurea.delivery()._settings.queue == 'chosen_late'"
    )


def test_a_client_that_never_finalises_its_app_has_it_when_it_publishes() -> None:
    run(
        "import aurea_celery.autoinstall\n"
        "from celery.signals import before_task_publish\n"
        "app = Celery('client', broker='memory://'); seen = {}\n"
        "before_task_publish.connect(lambda headers, **_: seen.update(headers), weak=False)\n"
        "app.send_task('elsewhere'); assert not app.finalized\n"
        "assert 'aurea_published_us' in seen\n"
        "plugin_of(app).close(); app.send_task('elsewhere'); assert plugin_of(app) is None, 'it came back'"
    )


def test_an_app_with_a_plugin_of_its_own_keeps_it() -> None:
    run(
        "import aurea_celery.autoinstall\n"
        "before = Celery('before', broker='memory://'); own = Aurea(before); before.finalize()\n"
        "assert plugin_of(before) is own\n"
        "after = Celery('after', broker='memory://'); after.finalize(); own = Aurea(after)\n"
        "assert plugin_of(after) is own"
    )


def test_the_variable_counts_for_celery_commands_alone() -> None:
    asked = "import sys, celery.bin.celery; assert ('aurea_celery.autoinstall' in sys.modules) is {}"
    run(asked.format(True), AUREA_AUTOINSTALL="1")
    run(asked.format(False), AUREA_AUTOINSTALL="0")
    run(asked.format(False), AUREA_AUTOINSTALL="")
    run("import sys; assert 'aurea_celery.autoinstall' not in sys.modules", AUREA_AUTOINSTALL="1")
