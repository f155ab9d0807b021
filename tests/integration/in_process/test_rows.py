"""What a worker with the plugin captures and writes, and what leaves no trace."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker

from aurea_celery import Aurea
from tests.integration.in_process.tasks import Tasks
from tests.integration.in_process.worker import Rows, publishers

# Celery's Redis backend calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def test_a_worker_with_the_queue_added_writes_its_own_rows(worked: Tasks, rows: Rows) -> None:
    for task in (worked.spend, worked.fail, worked.again, worked.monitored):
        task.delay()

    found = rows.wait_for(6)

    assert [(row.task_name, row.status, row.attempt, row.token_count) for row in found] == [
        ("again", "retry", 0, 3),
        ("again", "retry", 1, 3),
        ("again", "success", 2, 3),
        ("by another name", "success", 0, 50),
        ("fail", "failure", 0, 0),
        ("spend", "success", 0, 1),
    ]


def test_neither_the_writer_nor_celerys_own_tasks_have_rows(worked: Tasks, rows: Rows) -> None:
    """Each row is written by a task: were it captured, rows would never end."""
    for count in (1, 2, 3):
        worked.spend.delay()
        rows.wait_for(count)

    assert {row.task_name for row in rows.now()} == {"spend"}, "celery.ping ran too, when the worker started"


def test_an_app_may_come_after_the_plugin(
    celery_app: Celery, tasks: Tasks, rows: Rows, celery_worker_parameters: dict[str, Any]
) -> None:
    """``Aurea()`` first, ``init_app`` when there is an app, its configuration after that."""
    with closing(Aurea(flush_interval_seconds=0.05)) as aurea:
        aurea.init_app(celery_app)
        celery_app.conf.aurea_flush_interval_seconds = "not a number, and not asked for: an argument wins"
        with start_worker(celery_app, **celery_worker_parameters):
            tasks.spend.delay()

            assert [row.task_name for row in rows.wait_for(1)] == ["spend"]


@pytest.mark.usefixtures("aurea")
def test_an_eager_task_leaves_no_trace(celery_app: Celery, tasks: Tasks, broker_url: str, tmp_path: Path) -> None:
    """A user's unit tests run tasks in place, without a broker."""
    results = [task.apply() for task in (tasks.spend, tasks.collect, tasks.again)]
    celery_app.conf.task_always_eager = True
    results += [task.delay() for task in (tasks.spend, tasks.again, tasks.nested)]

    assert {result.state for result in results} == {"SUCCESS"}
    with redis.Redis.from_url(broker_url) as client:
        assert client.keys() == []
    assert not (tmp_path / "outbox").exists()
    assert publishers() == 0
