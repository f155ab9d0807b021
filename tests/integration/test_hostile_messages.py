"""What anybody may put into the writer's queue: it is kept, never run or loaded, and holds nothing up."""

from __future__ import annotations

import hashlib
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from aurea_celery.delivery.broker import task_headers
from aurea_celery.events import encode
from aurea_celery.storage.audit import audit
from tests.support.databases import connected
from tests.support.events import make_event
from tests.support.hostile import bad_batches, bad_events, one_batch, twins, with_call
from tests.support.installation import Installation
from tests.support.processes import Process, session_of
from tests.support.publishing import QUEUE, publish, publish_batch
from tests.support.servers import wait_until

BOMB_MEGABYTES = 250


class Bomb:
    """What makes a file when it is loaded from a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def reasons(installation: Installation) -> list[str]:
    return [row.reason for row in installation.query("SELECT reason FROM metrics_rejected")]


def check_it_still_writes(installation: Installation, writer: Process, count: int = 1) -> None:
    """A good batch that comes after all others is written, and the queue is empty."""
    publish_batch(installation, one_batch(encode(make_event())))
    installation.wait_for_executions(count)
    names = (QUEUE, f"{QUEUE}.unacked_index")
    wait_until(lambda: not any(installation.length_of(name) for name in names), "an empty queue")
    assert writer.status is None
    assert "Traceback" not in writer.log


def test_what_is_not_json_is_never_loaded(installation: Installation, tmp_path: Path) -> None:
    writer = installation.writer()
    made = tmp_path / "loaded"
    body = pickle.dumps([[Bomb(made)], {}, {}])
    for content_type in (
        "application/x-python-serialize",
        "application/pickle",
        "application/json",
        "application/data",
    ):
        headers = task_headers(f"pickled as {content_type}", "")
        publish(installation, body, content_type=content_type, content_encoding="binary", headers=headers)
    publish(
        installation,
        "[[!!python/object/apply:os.getpid []], {}, {}]",
        content_type="application/x-yaml",
        headers=task_headers("yaml", ""),
    )
    wait_until(lambda: len(reasons(installation)) == 5, "five rejected messages")

    check_it_still_writes(installation, writer)
    assert not made.exists()
    pickle.loads(body)  # noqa: S301 - our own: it does what it says
    assert made.exists()


ARGUMENT = "4929-0000-of-the-host"


def test_what_is_foreign_is_described_and_never_stored(installation: Installation) -> None:
    writer = installation.writer()
    app = Celery("stranger", broker=installation.broker_url)
    for task_id in ("one", "two", "two"):  # the last is the same message again
        app.send_task("shop.pay", args=[ARGUMENT], task_id=task_id, queue=QUEUE)
    for task_id in ("three", "four"):
        app.send_task("aurea_celery.write_metrics", args=[ARGUMENT], task_id=task_id, queue=QUEUE)
    app.send_task("aurea_celery.prune", args=[ARGUMENT], task_id="five", queue=QUEUE)
    app.send_task("shop.pay", kwargs={"card": ARGUMENT}, task_id="six", queue=QUEUE, serializer="pickle")
    app.conf.task_protocol = 1
    app.send_task("shop.pay", args=[ARGUMENT], task_id="seven", queue=QUEUE)
    app.close()
    forged = {"why": "x", "task": "y", "id": "z", "bytes": 1, "sha256": "0" * 64, "body": ARGUMENT}
    publish_batch(installation, json.dumps({"foreign_message": forged}), id="eight")
    publish(installation, ARGUMENT, content_type="text/plain")
    publish(installation, ARGUMENT, content_type="text/plain")
    wait_until(lambda: len(reasons(installation)) == 10, "ten rejected messages")

    check_it_still_writes(installation, writer)
    rows = installation.query("SELECT reason, payload FROM metrics_rejected")
    described = [json.loads(row.payload)["foreign_message"] for row in rows]
    assert ARGUMENT not in str(rows)
    assert ARGUMENT not in writer.log
    assert {frozenset(one) for one in described} == {frozenset(("why", "task", "id", "bytes", "sha256"))}
    assert {one["id"] for one in described} >= {"one", "two", "three", "four", "five", "six", "seven", "eight"}
    assert {one["task"] for one in described} == {"shop.pay", "aurea_celery.prune", None}
    plain = hashlib.sha256(ARGUMENT.encode()).hexdigest()
    assert sum((one["bytes"], one["sha256"]) == (len(ARGUMENT), plain) for one in described) == 4


def test_a_batch_of_ours_that_cannot_be_read_is_kept_once(installation: Installation) -> None:
    writer = installation.writer()
    newer = one_batch(encode(make_event())).decode().replace('{"v":1', '{"v":2')
    for message_id in ("one", "two"):
        publish_batch(installation, newer, id=message_id)

    check_it_still_writes(installation, writer)
    assert installation.query("SELECT payload FROM metrics_rejected") == [(newer,)]


def test_a_small_message_that_unpacks_to_a_huge_one_is_not_unpacked(installation: Installation) -> None:
    writer = installation.writer()
    zipped = zlib.compress(b"[" + b" " * BOMB_MEGABYTES * 1024 * 1024 + b"]")
    headers = task_headers("zipped", "") | {"compression": "application/x-gzip"}
    publish(installation, zipped, content_encoding="utf-8", headers=headers)
    wait_until(lambda: len(reasons(installation)) == 1, "a rejected message")

    check_it_still_writes(installation, writer)
    peak_megabytes = [int(status_of(pid)["VmHWM"].split()[0]) / 1024 for pid in session_of(writer.pid)]
    assert max(peak_megabytes) < BOMB_MEGABYTES


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def test_what_headers_ask_for_is_not_done(installation: Installation) -> None:
    writer = installation.writer()
    asked: list[dict[str, Any]] = [
        {"eta": "2999-01-01T00:00:00"},
        {"eta": "nonsense"},
        {"expires": "2001-01-01T00:00:00"},
        {"timelimit": [0.001, 0.001]},
        {"timelimit": "nonsense"},
        {"id": None},
        {"id": {"a": "b"}},
        {"retries": "x", "root_id": 7, "parent_id": [], "argsrepr": 7, "group": {}, "origin": None},
        {"stamped_headers": ["x"], "stamps": 7, "ignore_result": False, "replaced_task_nesting": "x"},
    ]
    for headers in asked:
        publish_batch(installation, one_batch(encode(make_event())), **headers)

    check_it_still_writes(installation, writer, count=len(asked) + 1)
    assert reasons(installation) == []


def test_no_other_task_follows_a_batch(installation: Installation) -> None:
    writer = installation.writer()
    link = {"task": "tests.support.user_app.spend", "args": [1, 1], "kwargs": {}, "options": {"queue": QUEUE}}
    for embed in ({"callbacks": [link]}, {"errbacks": [link]}, {"chain": [link]}, {"chord": link}, ["x"], "x", 7):
        publish_batch(installation, one_batch(encode(make_event(job_id=str(embed)))), embed=embed)
    wait_until(lambda: len(reasons(installation)) == 7, "seven rejected messages")

    check_it_still_writes(installation, writer)
    assert installation.truth_of("begun") == []


def test_entries_of_the_queue_that_are_no_messages(installation: Installation) -> None:
    writer = installation.writer()
    properties = {
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "body_encoding": "base64",
    }
    message = {"body": "aGVsbG8=", "content-type": "application/json", "headers": {}, "properties": properties}
    broken = [
        message | {"body": "A"},
        message | {"headers": [1]},
        message | {"body": 3},
        {"body": "x"},
        {},
        [],
        None,
        7,
    ]
    entries = [*(json.dumps(one) for one in broken), "hello", b"\xff\xfe", "[" * 100_000, json.dumps(message)[:-5], ""]
    with redis.Redis.from_url(installation.broker_url) as client:
        for entry in entries:
            client.lpush(QUEUE, entry)
    writer.wait_for("something that is no message was in the writer's queue")

    check_it_still_writes(installation, writer)


def test_bad_events_and_bad_batches_cost_nobody_else_anything(installation: Installation) -> None:
    writer = installation.writer()
    batches = bad_batches()
    events = {name: event for name, event in bad_events().items() if name != "invalid UTF-8"}
    for text in batches.values():
        publish_batch(installation, text)
    good = encode(make_event())
    publish_batch(installation, one_batch(*events.values(), good, *twins(3)))
    wait_until(lambda: len(reasons(installation)) == len(batches) + len(events), "all rejected", seconds=120)

    check_it_still_writes(installation, writer, count=3)
    assert "internal fault" not in str(reasons(installation))
    written, duplicates = installation.query("SELECT sum(written), sum(duplicates) FROM metrics_sources")[0]
    assert (written, duplicates) == (3, 2)
    assert audit(installation.database_url).rollup_differences == {}


@pytest.mark.parametrize("model", ["deadly", "hungry"])
def test_a_batch_that_ends_its_process_is_kept_after_three_times(installation: Installation, model: str) -> None:
    writer = installation.writer(app="tests.support.deadly_app")
    publish_batch(installation, one_batch(with_call(model=model)))
    wait_until(lambda: len(reasons(installation)) == 1, "a rejected message", seconds=120)

    payload = json.loads(installation.query("SELECT payload FROM metrics_rejected")[0].payload)["foreign_message"]
    assert model in payload["body"]
    assert payload["why"] == "a batch ended the process that wrote it three times"
    publish_batch(installation, one_batch(encode(make_event())))
    installation.wait_for_executions(1)
    assert writer.status is None
    assert not installation.length_of(QUEUE)


def test_what_cannot_even_be_kept_is_not_acknowledged(installation: Installation) -> None:
    refuse = "ALTER TABLE metrics_rejected ADD CONSTRAINT refuses CHECK (false)"
    with connected(installation.database_url) as connection:
        connection.execute(sa.text(refuse))
    publish_batch(installation, "no batch")
    writer = installation.writer(AUREA_RAISE_ERRORS="")
    writer.wait_for("could be neither written nor kept in the table metrics_rejected")
    assert reasons(installation) == []

    with connected(installation.database_url) as connection:
        connection.execute(sa.text("ALTER TABLE metrics_rejected DROP CONSTRAINT refuses"))
    wait_until(lambda: reasons(installation), "the message in metrics_rejected")
    check_it_still_writes(installation, writer)
