"""Receipts where they cannot come, or not as they are: what goes wrong with them never stops sending."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from celery import Celery
from moto.server import ThreadedMotoServer

from aurea_celery import Aurea, monitor_task
from aurea_celery.delivery.broker import Broker
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.events import decode_batch
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.installation import Installation
from tests.support.outboxes import make_outbox
from tests.support.servers import free_port, wait_until
from tests.support.signing_app import make_key

QUEUE, SIGNING = "aurea_metrics", "tests.support.signing_app"
OPEN = "SELECT FROM metrics_sources WHERE open_since IS NOT NULL"
NOBODY = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing", "region_name": "us-east-1"}
ROUNDS = 6


@pytest.fixture
def sqs_url() -> Iterator[str]:
    """An SQS, as moto plays it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.parametrize("is_predefined", [True, False])
def test_on_sqs_everything_is_sent_and_no_queue_is_left_behind(
    sqs_url: str, is_predefined: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    sqs = boto3.client("sqs", endpoint_url=sqs_url, **NOBODY)
    queue_url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    options: dict[str, Any] = {"region": "us-east-1", "is_secure": False}
    if is_predefined:
        keys = {"access_key_id": "nobody", "secret_access_key": "nothing"}
        options["predefined_queues"] = {QUEUE: {"url": queue_url, **keys}}
    app = Celery("sqs", broker=f"{sqs_url.replace('http://', 'sqs://nobody:nothing@')}//", set_as_current=False)
    app.conf.broker_transport_options = options
    aurea = Aurea(app, outbox_dir=str(tmp_path), flush_interval_seconds=0.02, batch_events=1)

    @monitor_task(task_name="call")
    def call() -> None: ...

    arrived: list[str] = []
    for number in range(1, ROUNDS + 1):
        call()
        wait_until(lambda: len(receive(sqs, queue_url, arrived)) >= number, "an event at SQS", seconds=15)  # noqa: B023
    aurea.close()
    receive(sqs, queue_url, arrived)

    assert len(arrived) == len(set(arrived)) == ROUNDS
    assert [url.rpartition("/")[2] for url in sqs.list_queues()["QueueUrls"]] == [QUEUE]
    assert not list(tmp_path.glob("*/[!.]*")), "a folder is left behind"


def receive(sqs: Any, queue_url: str, arrived: list[str]) -> list[str]:
    """Take what is in the writer's queue, and add the ids of its events."""
    for message in sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        body = json.loads(base64.b64decode(message["Body"]))["body"]
        (batch,), _, _ = json.loads(base64.b64decode(body))
        decoded = decode_batch(batch)
        assert decoded.receipt is None
        arrived += [json.loads(bytes(event))["event_id"] for one in decoded.sources for event in one.events]
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return arrived


def test_with_signed_messages_receipts_are_read_and_nothing_is_sent_twice(installation: Installation) -> None:
    installation.settings |= make_key(installation.folder)
    installation.writer(app=SIGNING)
    worker = installation.worker("-c", "2", app=SIGNING, AUREA_RESEND_SECONDS="1")
    client = installation.run("client", [SIGNING, "20"])
    assert client.wait() == 0, client.log
    installation.wait_for_executions(20)
    wait_until(lambda: not installation.query(OPEN), "the books closed")
    worker.end(signal.SIGTERM)

    assert installation.query("SELECT sum(written)::int, sum(duplicates)::int FROM metrics_sources") == [(20, 0)]
    assert not list(installation.outbox.glob(f"*/{worker.pid}-*")), "receipts have not come"
    assert "receipt" not in worker.log


@pytest.mark.parametrize("denied", ["its keys", "-rpop"])
def test_a_redis_user_who_may_not_use_the_queue_for_receipts(
    broker_url: str, denied: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [f"~{QUEUE}", f"~{QUEUE}[^.]*"] if denied == "its keys" else ["~*", denied]
    with redis.Redis.from_url(broker_url) as admin:
        admin.execute_command("ACL", "SETUSER", "clerk", "reset", "on", ">secret", "+@all", "~_kombu*", "&*", *rules)
        app = Celery("clerk", broker=broker_url.replace("//", "//clerk:secret@"), set_as_current=False)
        settings = Settings(resend_seconds=1)
        outbox = make_outbox(tmp_path)
        publisher = Publisher(outbox, Broker(app, settings, f"{QUEUE}.receipts.here"), settings)
        for _ in range(ROUNDS):
            outbox.finish(make_event())
            publisher.ship()
        publisher._clean_up()
        sent = admin.llen(QUEUE)
        admin.execute_command("ACL", "DELUSER", "clerk")

    assert sent >= ROUNDS
    assert caplog.text.count("cannot use the queue for receipts") == 1
