"""What a broker that is a black hole costs a task: time between tasks of a real worker, with the plugin and without.

Two workers with one slot each share a broker that works; that of aurea-celery is a port whose packets are dropped. They
take turns with the same tasks, which lie in the queue before the first one begins. Measured is how long the plugin's
handlers have a task, and the time from the end of a task's body to the beginning of the next one's, in which is all
that the worker does for both: whatever delays a task in any other way shows there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from celery import Celery

from aurea_celery.embedded import EmbeddedValkey
from bench.ratio import Spread
from tests.support.black_holes import BlackHole
from tests.support.processes import Process
from tests.support.servers import wait_until

TASKS = 500
POOLS = ("prefork", "threads", "solo")
AIM_MS = 5


class Round(NamedTuple):
    """Of one round, in microseconds: gaps between tasks, and what the handlers of both signals take of a task."""

    middle_gap: float
    gap: float
    handlers: float


class Host:
    """One worker with one slot, and the client that sends to it."""

    def __init__(self, folder: Path, broker_url: str, pool: str, environ: dict[str, str]) -> None:
        self._folder, self._queue, self._round = folder, folder.name, 0
        folder.mkdir()
        self._client = Celery("client", broker=broker_url, set_as_current=False)
        command = f"celery -A bench.tail_app worker -P {pool} -c 1 -Q {self._queue} -n {self._queue}@bench -l WARNING"
        environ = {"BENCH_BROKER_URL": broker_url, "PYTHONPATH": str(Path.cwd()), **environ}
        self.worker = Process("worker", [sys.executable, "-m", *command.split()], folder=folder, environ=environ)

    def run(self) -> Round:
        """Run one round of tasks; all but the first figure are 99th percentiles."""
        self._round += 1
        gate, answer = (self._folder / f"{name}-{self._round}" for name in ("gate", "gaps"))
        with self._client.producer_pool.acquire() as producer:
            tasks = [("bench.wait_for", (str(gate),)), *[("bench.note", ())] * TASKS, ("bench.write", (str(answer),))]
            for name, arguments in tasks:
                self._client.send_task(name, arguments, queue=self._queue, producer=producer)
        gate.touch()
        wait_until(answer.exists, "the tasks of a round", seconds=120)
        gaps, handled = (quantiles(figures, n=100) for figures in json.loads(answer.read_text()))
        return Round(gaps[49], gaps[98], handled[98])

    def stop(self) -> None:
        """End the worker."""
        self.worker.stop()
        self._client.close()


def measure(pool: str, rounds: int) -> list[tuple[Round, Round]]:
    """Rounds with the plugin and without; the first of each warms up and does not count."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aurea-bench-")))
        valkey = EmbeddedValkey(folder)
        stack.callback(valkey.stop)
        hole = stack.enter_context(BlackHole())
        plugin = {"BENCH_WITH_AUREA": "1", "AUREA_BROKER_URL": hole.url, "AUREA_OUTBOX_DIR": str(folder / "outbox")}
        hosts = [
            Host(folder / name, valkey.url, pool, environ) for name, environ in (("with", plugin), ("without", {}))
        ]
        for host in hosts:
            stack.callback(host.stop)
        found = []
        for number in range(rounds + 1):
            order = hosts if number % 2 else hosts[::-1]
            figures = {host: host.run() for host in order}
            found.append((figures[hosts[0]], figures[hosts[1]]))
        return found[1:]


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown for each pool."""
    return "\n".join(f"- {pool}: {_described(measure(pool, rounds))}" for pool in POOLS)


def _described(rounds: list[tuple[Round, Round]]) -> str:
    handlers = Spread.of([ours.handlers / 1e3 for ours, _ in rounds])
    ours, other = (Spread.of([pair[place].gap / 1e3 for pair in rounds]) for place in (0, 1))
    added = Spread.of([(ours.gap - other.gap) / 1e3 for ours, other in rounds])
    usual = Spread.of([(ours.middle_gap - other.middle_gap) / 1e3 for ours, other in rounds])
    return (
        f"both handlers take {handlers.text('.2f')} ms of a task at the 99th percentile (aim: less than {AIM_MS}); "
        f"between two tasks at the 99th percentile {ours.text('.1f')} ms with the plugin, "
        f"{other.text('.1f')} ms without; "
        f"added {added.text('.1f')} ms, at the median {usual.text('.2f')} ms"
    )


if __name__ == "__main__":
    print(main())
