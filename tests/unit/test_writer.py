"""The writer's task keeps its own options, whatever the host says of tasks."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from celery import Celery

from aurea_celery import Aurea, writer, writer_steps
from aurea_celery.delivery.broker import PRUNE_TASK, WRITE_TASK
from aurea_celery.errors import ConfigurationError
from aurea_celery.writer import NO_LIMIT_SECONDS
from aurea_celery.writer_steps import MAX_BATCH_SECONDS, is_stuck
from aurea_celery.writer_worker import node_name, run_worker


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
    assert node_name() != node_name()


def test_a_batch_that_is_here_for_long_means_that_a_process_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    fresh = SimpleNamespace(name=WRITE_TASK, received_at=now)
    old = SimpleNamespace(name=WRITE_TASK, received_at=now - MAX_BATCH_SECONDS - 1)
    upkeep = SimpleNamespace(name=PRUNE_TASK, received_at=now - 10 * MAX_BATCH_SECONDS)
    monkeypatch.setattr(writer_steps, "last_wait", lambda: 0.0)

    assert not is_stuck([])
    assert not is_stuck([fresh])
    assert is_stuck([fresh, old])
    assert not is_stuck([old, upkeep]), "upkeep takes as long as it takes"
    monkeypatch.setattr(writer_steps, "last_wait", lambda: now - 1)
    assert not is_stuck([fresh, old]), "it waits for the database"


def test_a_process_that_waits_for_the_database_says_so() -> None:
    before = time.monotonic()
    writer._wait(0.01)
    assert before <= writer.last_wait() <= time.monotonic()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://", "a broker of the kind 'memory' is not supported; use one of: Redis, Valkey or Redis Sentinel"),
        ("nonsense://", "the broker's URL cannot be read"),
        ("redis://host:port/0", "the broker's URL cannot be read"),
    ],
)
def test_a_broker_that_is_not_supported_is_refused_in_one_sentence(url: str, sentence: str) -> None:
    app = Celery("host", broker=url, set_as_current=False)
    aurea = Aurea(app, enabled=False)
    with pytest.raises(ConfigurationError, match=sentence):
        run_worker(app, concurrency=1, loglevel="INFO")
    aurea.close()
