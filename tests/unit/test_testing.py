"""The recorder that users have for their own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task

from aurea_celery import Aurea, job, monitor_task, record_usage
from aurea_celery.capture import registry
from aurea_celery.testing import recording


@pytest.fixture
def app() -> Celery:
    """An app of a user's."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True

    @app.task(name="shop.summarise", shared=False, bind=True, max_retries=2)
    def summarise(self: Task[Any, Any], text: str, failures: int = 0) -> str:
        record_usage(model="gpt-4", input_tokens=len(text), output_tokens=1)
        if self.request.retries < failures:
            raise self.retry(countdown=0)
        return text[:1]

    @app.task(name="shop.fail", shared=False)
    def fail() -> None:
        raise ValueError("secret")

    return app


def test_eager_tasks_are_recorded_as_a_worker_would(app: Celery) -> None:
    with recording(app) as recorder:
        assert app.tasks["shop.summarise"].delay("hello").get() == "h"

    event = recorder.last
    assert (event.task_name, event.status, recorder.tokens) == ("shop.summarise", "success", 6)
    assert [call.usage.input_tokens for _, call in recorder.calls] == [5]


def test_every_attempt_is_one(app: Celery) -> None:
    with recording(app) as recorder:
        app.tasks["shop.summarise"].delay("hello", failures=2)

    # A retry of an eager task runs inside of the attempt that asks for it.
    assert sorted((event.attempt, event.status) for event in recorder.finished) == [
        (0, "retry"),
        (1, "retry"),
        (2, "success"),
    ]
    assert recorder.tokens == 18


def test_failures_have_a_class_and_no_message(app: Celery) -> None:
    with recording(app) as recorder:
        app.tasks["shop.fail"].delay()

    assert (recorder.last.status, recorder.last.error_type) == ("failure", "ValueError")
    assert "secret" not in str(recorder.last)


def test_monitored_functions_are_recorded_too(app: Celery) -> None:
    with recording(app) as recorder:
        monitor_task("job", "translate", "gpt-4")(lambda: ("text", 7))()

    assert (recorder.last.job_id, recorder.last.task_name, recorder.tokens) == ("job", "translate", 7)


def test_the_plugin_rests_meanwhile_and_goes_on_afterwards(app: Celery, tmp_path: Path) -> None:
    aurea = Aurea(app, outbox_dir=str(tmp_path / "outbox"))
    with recording(app) as recorder:
        monitor_task("job", "translate", "gpt-4")(lambda: ("text", 7))()

    assert recorder.tokens == 7
    assert not (tmp_path / "outbox").exists(), "something was written"
    assert registry.door_of(app) == aurea.destination
    aurea.close()


def test_without_a_recorder_an_eager_task_writes_and_sends_nothing(app: Celery, tmp_path: Path) -> None:
    aurea = Aurea(app, outbox_dir=str(tmp_path / "outbox"))

    assert app.tasks["shop.summarise"].delay("hello").get() == "h"

    assert not (tmp_path / "outbox").exists()
    aurea.close()


def test_with_capture_eager_it_does(app: Celery, tmp_path: Path) -> None:
    aurea = Aurea(app, outbox_dir=str(tmp_path / "outbox"), capture_eager=True)

    app.tasks["shop.summarise"].delay("hello")

    delivery = aurea.delivery()
    assert delivery is not None
    assert delivery._outbox.source.captured == 1
    aurea.close()


def test_a_job_around_eager_tasks_lasts_and_a_header_names_one(app: Celery) -> None:
    with recording(app) as recorder:
        with job("nightly"):
            for _ in range(3):
                app.tasks["shop.summarise"].delay("hello")
        app.tasks["shop.summarise"].apply(args=("hello",), headers={"aurea_job": "by header"})

    assert [event.job_id for event in recorder.finished] == ["nightly", "nightly", "nightly", "by header"]
