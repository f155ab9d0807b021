"""Several plugins, apps and workers in one process, one after the other and at once; and a plugin that is closed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

from aurea_celery import Aurea, monitor_task
from aurea_celery.capture import registry
from tests.integration.in_process.tasks import Tasks, add_tasks
from tests.integration.in_process.worker import Rows, close_results, published_headers, publishers, settings_for
from tests.support.databases import Databases
from tests.support.servers import wait_until

# Celery's Redis backend calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def test_close_undoes_everything(aurea: Aurea, celery_app: Celery, worked: Tasks, rows: Rows, tmp_path: Path) -> None:
    assert "aurea_published_us" in published_headers(celery_app, "spend")
    worked.spend.delay()
    rows.wait_for(1)
    assert publishers() == 1
    assert list(tmp_path.glob("outbox/*/*"))

    aurea.close()

    assert registry.default_destination() is None, "an app is still captured"
    assert publishers() == 0
    assert not list(tmp_path.glob("outbox/*/[!.]*")), "a folder is left"
    assert not {name for name in published_headers(celery_app, "spend") if name.startswith("aurea")}
    worked.spend.delay().get(timeout=10)
    with closing(Aurea(celery_app)):
        worked.collect.delay()
        assert [row.task_name for row in rows.wait_for(2)] == ["collect", "spend"]


def test_closing_sends_what_is_left(celery_app: Celery, rows: Rows, celery_worker_parameters: dict[str, Any]) -> None:
    aurea = Aurea(celery_app, flush_interval_seconds=3600)
    monitor_task("job", "call")(int)()

    aurea.close()

    with start_worker(celery_app, **celery_worker_parameters):
        assert [row.task_name for row in rows.wait_for(1)] == ["call"]


def test_a_second_plugin_on_one_app_takes_over(
    celery_app: Celery, tasks: Tasks, rows: Rows, celery_worker_parameters: dict[str, Any]
) -> None:
    first = Aurea(celery_app)
    with closing(Aurea(celery_app)), start_worker(celery_app, **celery_worker_parameters):
        for count in (1, 2):
            tasks.spend.delay()
            rows.wait_for(count)
        first.close()
        for count in (3, 4):
            tasks.spend.delay()
            rows.wait_for(count)
    assert publishers() == 0


@pytest.mark.usefixtures("aurea")
def test_the_end_of_a_worker_is_not_the_end_of_the_process(
    celery_app: Celery, tasks: Tasks, rows: Rows, celery_worker_parameters: dict[str, Any]
) -> None:
    for count in (1, 2):
        with start_worker(celery_app, **celery_worker_parameters) as worker:
            tasks.spend.delay()
            rows.wait_for(count)
            signals.worker_shutdown.send(sender=worker)  # as stopping it does; the fixture terminates it
            wait_until(lambda: publishers() == 0, "the publisher's end")


def test_two_apps(
    aurea: Aurea, celery_app: Celery, tasks: Tasks, celery_config: dict[str, Any], databases: Databases
) -> None:
    """Each app's executions go to its own broker, by its own settings, to its own database."""
    queues = ["celery", "aurea_metrics"]
    with databases.migrated() as other_database_url:
        other = Celery("other", set_as_current=False)
        other_broker_url = celery_config["broker_url"].removesuffix("/0") + "/1"
        other.conf.update(settings_for(other_broker_url, other_database_url, Path(celery_config["aurea_outbox_dir"])))
        other_tasks = add_tasks(other)
        rows, other_rows = Rows(celery_config["aurea_database_url"]), Rows(other_database_url)
        with closing(Aurea(other)):
            tasks.spend.delay()
            other_tasks.spend.delay(tokens=2)
            with start_worker(celery_app, queues=queues):  # two workers at once would share kombu's event loop
                assert [row.token_count for row in rows.wait_for(1)] == [1]
            with start_worker(other, queues=queues):
                assert [row.token_count for row in other_rows.wait_for(1)] == [2]
                aurea.close()
                other_tasks.spend.delay(tokens=2)
                assert [row.token_count for row in other_rows.wait_for(2)] == [2, 2]
        close_results(other)
        rows.wait_for(1)
