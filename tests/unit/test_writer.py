"""The writer's task keeps its own options, whatever the host says of tasks."""

from __future__ import annotations

from celery import Celery

from aurea_celery import Aurea
from aurea_celery.delivery.broker import WRITE_TASK
from aurea_celery.writer import NO_LIMIT_SECONDS
from aurea_celery.writer_worker import node_name


def test_the_hosts_annotations_and_defaults_are_for_its_own_tasks() -> None:
    app = Celery("host", broker="memory://", set_as_current=False)
    app.conf.task_annotations = {"*": {"soft_time_limit": 3, "time_limit": 4, "acks_late": False, "rate_limit": "1/m"}}
    app.conf.task_default_rate_limit = "1/m"
    aurea = Aurea(app, enabled=False)

    task = app.tasks[WRITE_TASK]
    aurea.close()

    assert (task.soft_time_limit, task.time_limit) == (NO_LIMIT_SECONDS, NO_LIMIT_SECONDS)
    assert task.acks_late
    assert task.reject_on_worker_lost
    assert not task.rate_limit


def test_two_writers_of_one_host_have_two_names() -> None:
    assert node_name() != node_name(), "RabbitMQ has one control queue per name, and refuses a second writer"
