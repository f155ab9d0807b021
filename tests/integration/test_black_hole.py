"""A broker whose packets are dropped: no task's thread or process ever reaches for it, and nobody waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from celery import Celery

from aurea_celery.clock import now_us
from aurea_celery.delivery.delivery import Delivery
from aurea_celery.settings import Settings
from tests.support.black_holes import BlackHole
from tests.support.events import make_event
from tests.support.installation import Installation
from tests.support.servers import wait_until

HOURS = 3600.0


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    """A broker that is neither there nor not there."""
    with BlackHole() as made:
        yield made


@pytest.mark.parametrize(
    "options",
    [["-P", "prefork", "-c", "2"], ["-P", "threads", "-c", "2"], ["-P", "solo"], ["-P", "gevent", "-c", "2"]],
    ids=["prefork", "threads", "solo", "gevent"],
)
def test_only_the_publishers_thread_reaches_for_it(
    installation: Installation, black_hole: BlackHole, options: list[str]
) -> None:
    watched = installation.folder / "watched"
    worker = installation.worker(
        *options,
        app="tests.support.watched_app",
        WATCHED=str(watched),
        WATCHED_PORT=str(black_hole.port),
        AUREA_BROKER_URL=black_hole.url,
        AUREA_BROKER_TIMEOUT_SECONDS="0.5",
    )
    installation.send_many("spend", [(number, 1) for number in range(20)])
    wait_until(lambda: len(installation.truth_of("spent")) == 20, "every task")
    worker.wait_for("cannot send to the broker")
    installation.send_many("spend", [(number, 1) for number in range(20)])
    wait_until(lambda: len(installation.truth_of("spent")) == 40, "every task behind a broker that is known to be away")
    worker.stop()

    lines = set(watched.read_text().splitlines())
    if "gevent" in options:  # resolves every name in a thread of its own
        lines = {line for line in lines if "socket.connect" in line}
    assert {line.rpartition(" ")[0] for line in lines} == {f"{worker.pid} aurea-publisher"}
    assert "internal fault" not in worker.log


def test_with_sync_delivery_children_know_what_their_parent_knows(
    installation: Installation, black_hole: BlackHole
) -> None:
    """A child that lives for one task would else wait in each of them."""
    worker = installation.worker(
        *("-P", "prefork", "-c", "1", "--max-tasks-per-child", "1"),
        AUREA_DELIVERY="sync",
        AUREA_BROKER_URL=black_hole.url,
        AUREA_BROKER_TIMEOUT_SECONDS="0.5",
    )
    installation.send("spend", 1, 1)
    worker.wait_for("MainProcess] aurea-celery: cannot send to the broker")
    installation.send_many("spend", [(number, 1) for number in range(3)])
    wait_until(lambda: len(installation.truth_of("spent")) == 4, "every task")
    worker.stop()

    waited = worker.log.count("cannot send to the broker (TimeoutError)")
    assert 1 <= waited <= 2, "the first child, and the one that was there already when the parent knew"


def test_executions_begin_and_end_while_the_publisher_hangs(tmp_path: Path, black_hole: BlackHole) -> None:
    """It holds neither the interpreter's lock nor one of ours while it hangs: what it hangs in outlasts 1,000 tasks."""
    delivery = hanging_delivery(tmp_path, black_hole)
    hangs_in = hanging_frame(delivery)
    for _ in range(1_000):
        event = make_event(started_at_us=now_us())
        delivery.begin(event)
        delivery.finish(event)

    assert hanging_frame(delivery) is hangs_in, "the publisher was not in the same call all the time"
    delivery.stop()


def test_a_stop_does_not_wait_for_it(tmp_path: Path, black_hole: BlackHole) -> None:
    """A worker's process is told to stop twice, by Celery and at its exit."""
    delivery = hanging_delivery(tmp_path, black_hole)
    begun = time.monotonic()
    for _ in range(20):
        delivery.stop()

    assert 0.5 <= time.monotonic() - begun < 5.0, "the deadline counts once"


def hanging_delivery(folder: Path, black_hole: BlackHole) -> Delivery:
    """A process's delivery, whose publisher hangs in the call to connect."""
    settings = Settings(
        broker_url=black_hole.url,
        broker_timeout_seconds=HOURS,
        outbox_dir=str(folder),
        flush_interval_seconds=0.01,
        shutdown_flush_seconds=0.5,
    )
    delivery = Delivery(Celery("hanging", broker="memory://", set_as_current=False), settings)
    delivery.finish(make_event())
    wait_until(lambda: hanging_frame(delivery), "the publisher hanging in connect")
    return delivery


def hanging_frame(delivery: Delivery) -> FrameType | None:
    """The Python frame in which the publisher calls the kernel's ``connect``, if it is there."""
    thread = delivery._publisher._thread
    frame = sys._current_frames().get(thread.ident or 0) if thread else None
    return frame if frame is not None and frame.f_code.co_name == "_connect" else None
