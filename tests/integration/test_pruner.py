"""The task ``aurea_celery.prune``: sent by a real beat, done by a real writer; nobody else can ask for more."""

from __future__ import annotations

import json

from celery import Celery

from aurea_celery import Aurea
from aurea_celery.clock import now_us
from aurea_celery.delivery.broker import PRUNE_TASK, task_headers
from aurea_celery.storage import upkeep
from aurea_celery.writer import NO_LIMIT_SECONDS, settings_of
from tests.support.installation import ROOT, Installation
from tests.support.recorded import execution, write
from tests.support.retention import check_sums
from tests.support.servers import wait_until

DAY_US = 86_400_000_000
QUEUE = "aurea_metrics"


def rows(installation: Installation) -> int:
    return len(installation.query("SELECT 1 FROM metrics"))


def write_days_ago(installation: Installation, *days: int) -> None:
    write(installation.database_url, *(execution(ended_at_us=now_us() - day * DAY_US) for day in days))


def test_beat_sends_and_the_writer_drops(installation: Installation) -> None:
    write_days_ago(installation, 0, 60, 150, 200)
    upkeep.maintain(installation.database_url)
    write_days_ago(installation, 160)
    app = "tests.support.pruned_app"
    writer = installation.writer(app=app)
    beat = installation.run("beat", ["celery", "-A", app, "beat", "-s", str(installation.folder / "schedule")])

    wait_until(lambda: rows(installation) == 2, "three old rows dropped")
    wait_until(
        lambda: installation.query("SELECT 1 FROM metrics_retention WHERE partition LIKE '%default'"), "all of it"
    )

    writer.wait_for("dropped")
    assert "Traceback" not in writer.log
    assert "Traceback" not in beat.log
    assert installation.query("SELECT 1 FROM metrics_rejected") == []
    assert installation.query("SELECT task_name FROM metrics WHERE task_name LIKE 'aurea%'") == []
    check_sums(installation.database_url)


def test_who_publishes_a_message_says_nothing_of_what_is_dropped(installation: Installation) -> None:
    write_days_ago(installation, 0, 150, 200)
    writer = installation.writer()  # with no retention set
    stranger = Celery("stranger", broker=installation.broker_url)
    bodies = [
        [[], {"older_than": "0d"}, {}],
        [["0d"], {}, {}],
        [[0], {"retention_days": 1}, {}],
        [[], {}, {"chain": [{"task": PRUNE_TASK}]}],
        [[], {}, {}],
    ]
    with stranger.connection_for_write() as connection, connection.Producer() as producer:
        for body in bodies:
            headers = task_headers("an id", "", PRUNE_TASK) | {"aurea_retention_days": 1}
            producer.publish(
                json.dumps(body),
                routing_key=QUEUE,
                content_type="application/json",
                content_encoding="utf-8",
                headers=headers,
            )
    stranger.close()

    wait_until(lambda: len(installation.query("SELECT 1 FROM metrics_rejected")) == 4, "four rejected messages")
    wait_until(lambda: not installation.query("SELECT 1 FROM metrics_default"), "upkeep by the last one")
    assert rows(installation) == 3
    assert writer.status is None
    assert "Traceback" not in writer.log


def test_the_task_goes_to_the_writers_queue_whatever_the_host_says(installation: Installation) -> None:
    app = Celery("host", broker=installation.broker_url, set_as_current=False)
    app.conf.task_annotations = {"*": {"time_limit": 4, "queue": "celery"}}
    aurea = Aurea(app, enabled=False)
    task = app.tasks[PRUNE_TASK]

    assert task.delay().id
    assert task.apply_async(queue="celery", countdown=60).id

    aurea.close()
    assert (installation.length_of(QUEUE), installation.length_of("celery")) == (2, 0)
    assert task.time_limit == NO_LIMIT_SECONDS
    assert QUEUE not in app.amqp.queues


def test_the_documented_schedule_sends_our_task(installation: Installation) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    example = page.split("Celery's beat does it every night")[1].split("```python\n")[1].split("```")[0]
    app = Celery("documented", broker=installation.broker_url, set_as_current=False)
    aurea = Aurea(app, enabled=False)
    exec(example, {"app": app})  # noqa: S102 - the example of our own page
    (entry,) = app.conf.beat_schedule.values()

    assert app.tasks[entry["task"]].apply_async().id
    assert settings_of(app).retention_days == 90
    assert installation.length_of(QUEUE) == 1
    aurea.close()
