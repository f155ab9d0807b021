"""Microseconds that sync delivery adds to a task inside Celery's own tracer, beside delivery in the background.

All run in one forked child, as a prefork worker's child does, and take turns: Celery alone, delivery in the background
(the event is in the outbox when the task ends), and sync delivery (it is also with the broker, confirmed).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from celery import Celery

from aurea_celery import Aurea, plugin
from aurea_celery.capture import signals
from aurea_celery.embedded import EmbeddedValkey
from bench.capture import nothing, trace_tasks, with_aurea
from bench.children import in_child
from bench.ratio import Pair, Spread
from chaos.brokers import MissingServer, RabbitMQ

NO_LIMIT = 10**9


def measure(broker_url: str, rounds: int) -> Pair:
    """What sync delivery and delivery in the background add, in microseconds per task, round by round."""
    apps: dict[str, Celery] = {}
    with tempfile.TemporaryDirectory() as folder:
        for delivery in ("sync", "background"):
            app = Celery("bench", broker=broker_url, set_as_current=False)
            app.task(name="bench.nothing")(nothing)
            apps[delivery] = app
            Aurea(
                app,
                delivery=delivery,
                outbox_dir=folder,
                queue=f"bench_{delivery}",
                queue_max_messages=NO_LIMIT,
                sync_timeout_seconds=60,
            )
        signals.disconnect()
        plugin.on_worker_init()
        return Pair(*in_child(lambda: _rounds(apps["sync"], apps["background"], rounds)))


def _rounds(sync: Celery, background: Celery, rounds: int) -> Pair:
    plugin.on_worker_process_init()
    found = Pair([], [])
    for number in range(rounds + 1):
        turns: list[Callable[[], float]] = [
            lambda: trace_tasks(sync),
            lambda: with_aurea(sync),
            lambda: with_aurea(background),
        ]
        first = number % len(turns)
        figures = {turn: turn() for turn in turns[first:] + turns[:first]}
        alone, ours, reference = (figures[turn] for turn in turns)
        if number:  # the first round warms up, and connects
            found.ours.append(ours - alone)
            found.reference.append(reference - alone)
    return found


@contextlib.contextmanager
def _brokers() -> Iterator[dict[str, str]]:
    """The brokers that there are, by name."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="aurea-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        valkey = EmbeddedValkey(folder)
        stack.callback(valkey.stop)
        found = {"Valkey": valkey.url}
        with contextlib.suppress(MissingServer):
            rabbit = RabbitMQ(folder)
            stack.callback(rabbit.remove)
            found["RabbitMQ"] = rabbit.url
        yield found


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown for each broker."""
    with _brokers() as brokers:
        return "\n".join(f"- {name}: {_described(measure(url, rounds))}" for name, url in brokers.items())


def _described(pair: Pair) -> str:
    sync, background = pair.map(lambda figure: figure)
    waits = Spread.of([ours - reference for ours, reference in zip(pair.ours, pair.reference, strict=True)])
    return (
        f"sync adds {sync.text(',.0f')} us to a task, background {background.text('.0f')} us; "
        f"a task waits {waits.text(',.0f')} us for the broker"
    )


if __name__ == "__main__":
    print(main())
