"""What a broker that is a black hole costs a task: time between tasks of a real worker, with the plugin and without.

Two workers with one slot each share a broker that works; that of aurea-celery is a port whose packets are dropped. They
take turns with the same tasks, which lie in the queue before the first one begins. Between the end of a task's body and
the beginning of the next one's is all that the worker does for both: whatever delays a task there shows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from celery import Celery

from aurea_celery.embedded import EmbeddedValkey
from bench.ratio import Pair, Spread, interleaved
from tests.support.black_holes import BlackHole
from tests.support.processes import Process
from tests.support.servers import wait_until

TASKS = 500
POOLS = ("prefork", "threads", "solo")
AIM_MS = 5


class Gaps(NamedTuple):
    """Of the gaps of one round, in microseconds."""

    middle: float
    ninety_ninth: float


class Host:
    """One worker with one slot, and the client that sends to it."""

    def __init__(self, folder: Path, broker_url: str, pool: str, environ: dict[str, str]) -> None:
        self._folder, self._queue, self._round = folder, folder.name, 0
        folder.mkdir()
        self._client = Celery("client", broker=broker_url, set_as_current=False)
        command = f"celery -A bench.tail_app worker -P {pool} -c 1 -Q {self._queue} -n {self._queue}@bench -l WARNING"
        environ = {"BENCH_BROKER_URL": broker_url, "PYTHONPATH": str(Path.cwd()), **environ}
        self.worker = Process("worker", [sys.executable, "-m", *command.split()], folder=folder, environ=environ)

    def gaps(self) -> Gaps:
        """Run one round of tasks."""
        self._round += 1
        gate, answer = (self._folder / f"{name}-{self._round}" for name in ("gate", "gaps"))
        with self._client.producer_pool.acquire() as producer:
            tasks = [("bench.wait_for", (str(gate),)), *[("bench.note", ())] * TASKS, ("bench.write", (str(answer),))]
            for name, arguments in tasks:
                self._client.send_task(name, arguments, queue=self._queue, producer=producer)
        gate.touch()
        wait_until(answer.exists, "the tasks of a round", seconds=120)
        percentiles = quantiles(json.loads(answer.read_text()), n=100)
        return Gaps(percentiles[49], percentiles[98])

    def stop(self) -> None:
        """End the worker."""
        self.worker.stop()
        self._client.close()


def measure(pool: str, rounds: int) -> tuple[Pair, Pair]:
    """Medians and 99th percentiles of the gaps, with the plugin and without, round by round, in microseconds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aurea-bench-")))
        valkey = EmbeddedValkey(folder)
        stack.callback(valkey.stop)
        hole = stack.enter_context(BlackHole())
        outbox = {"BENCH_WITH_AUREA": "1", "AUREA_BROKER_URL": hole.url, "AUREA_OUTBOX_DIR": str(folder / "outbox")}
        hosts = [
            Host(folder / name, valkey.url, pool, environ) for name, environ in (("with", outbox), ("without", {}))
        ]
        for host in hosts:
            stack.callback(host.stop)
        middles, ninety_ninths = Pair([], []), Pair([], [])

        def run(host: Host, place: int) -> Callable[[], float]:
            def once() -> float:
                gaps = host.gaps()
                middles[place].append(gaps.middle)
                return gaps.ninety_ninth

            return once

        ninety_ninths = interleaved(run(hosts[0], 0), run(hosts[1], 1), rounds=rounds)
        return Pair(middles.ours[1:], middles.reference[1:]), ninety_ninths


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown for each pool."""
    return "\n".join(f"- {pool}: {_described(*measure(pool, rounds))}" for pool in POOLS)


def _described(middles: Pair, ninety_ninths: Pair) -> str:
    with_it, without = ninety_ninths.map(lambda us: us / 1e3)
    delays = Spread.of([(ours - other) / 1e3 for ours, other in zip(*ninety_ninths, strict=True)])
    usual = Spread.of([(ours - other) / 1e3 for ours, other in zip(*middles, strict=True)])
    return (
        f"99th percentile with the plugin {with_it.text('.2f')} ms, without {without.text('.2f')} ms; "
        f"added {delays.text('.2f')} ms (aim: less than {AIM_MS}); at the median {usual.text('.2f')} ms"
    )


if __name__ == "__main__":
    print(main())
