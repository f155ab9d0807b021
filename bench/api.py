"""How long the API's answers take for many clients who read and post, beside two writers, and that nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, cycle, islice
from statistics import median, quantiles
from typing import Any, NamedTuple

from aurea_celery.embedded import EmbeddedStack
from aurea_celery.models import upgrade_database
from bench.ratio import Spread
from bench.reprice import WRITERS, writing

CLIENTS = 32
SECONDS = 10
READS_PER_POST = 3
START_SECONDS = 60
# Without /health: by design it is unwell if the database has not answered within two seconds.
READS = (
    "/metrics/jobs?limit=20",
    "/metrics/jobs/job-1",
    "/metrics/jobs/job-2/details?limit=20",
    "/metrics/summary?since=24h",
    "/metrics/tasks?since=24h",
    "/metrics/models",
    "/metrics/timeseries?measure=cost&since=24h",
)


class Load(NamedTuple):
    """Seconds that each request took, and what went wrong."""

    reads: list[float]
    posts: list[float]
    problems: list[str]

    def text(self) -> str:
        """How many there were, and how long half of them and nearly all of them took."""
        parts = [
            f"{len(times):,} {name}: median {median(times) * 1000:,.0f} ms, 99th percentile {p99(times) * 1000:,.0f} ms"
            for name, times in (("reads", self.reads), ("posts", self.posts))
        ]
        return "; ".join(parts)


class Client:
    """One client with one connection, and a job of its own that it posts to."""

    def __init__(self, port: int, job_id: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._job_id = job_id
        self._posted = 0
        self.load = Load([], [], [])

    def run(self, until: float, reads: Iterator[str]) -> Load:
        """Post and read by turns; every row must be there at once."""
        while time.monotonic() < until:
            self._post()
            for path in islice(reads, READS_PER_POST):
                self._get(path)
            found = self._get(f"/metrics/jobs/{self._job_id}").get("total_tasks")
            if found != self._posted:
                self.load.problems.append(f"{self._job_id}: {found} rows of {self._posted}")
        self._connection.close()
        return self.load

    def _post(self) -> None:
        metric = {
            "job_id": self._job_id,
            "task_name": "posted",
            "model_used": "gpt-4",
            "token_count": 500,
            "latency_ms": 1250.5,
        }
        self._ask(self.load.posts, 201, "POST", "/metrics", json.dumps(metric))
        self._posted += 1

    def _get(self, path: str) -> Any:
        return self._ask(self.load.reads, 200, "GET", path)

    def _ask(self, times: list[float], status: int, method: str, path: str, body: str | None = None) -> Any:
        begun = time.perf_counter()
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        times.append(time.perf_counter() - begun)
        if answer.status != status:
            self.load.problems.append(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text)


def run(port: int, seconds: float, *, name: str = "client", clients: int = CLIENTS) -> Load:
    """Let clients read and post for some seconds.

    Raises:
        OSError: If a connection breaks.
    """
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(clients) as pool:
        running = [
            pool.submit(Client(port, f"{name}-{number}").run, until, islice(cycle(READS), number, None))
            for number in range(clients)
        ]
        loads = [one.result() for one in running]
    return Load(*(list(chain.from_iterable(lists)) for lists in zip(*loads, strict=True)))


def p99(times: list[float]) -> float:
    """What 99 of 100 are within."""
    return quantiles(times, n=100)[98]


@contextmanager
def serving(url: str) -> Iterator[int]:
    """``aurea serve`` as a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    environ = {**os.environ, "DATABASE_URL": url, "PORT": str(port), "AUREA_API_TOKENS": ""}
    process = subprocess.Popen([sys.executable, "-m", "aurea_api"], env=environ, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_answers(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the API does not answer")


def main(rounds: int = 15) -> str:
    """Measure and describe, one line of Markdown; of a third of the rounds, ten seconds each."""
    with EmbeddedStack(broker_url="unused://") as stack:
        upgrade_database(stack.database_url)
        with serving(stack.database_url) as port, writing(stack.database_url) as written:
            before, begun = written.value, time.perf_counter()
            loads = [run(port, SECONDS, name=f"round-{number}") for number in range(max(1, rounds // 3))]
            rows = (written.value - before) / (time.perf_counter() - begun)
    assert not any(load.problems for load in loads), loads
    requests = Spread.of([(len(load.reads) + len(load.posts)) / SECONDS for load in loads])
    reads = Spread.of([p99(load.reads) * 1000 for load in loads])
    posts = Spread.of([p99(load.posts) * 1000 for load in loads])
    return (
        f"- {CLIENTS} clients: {requests.text(',.0f')} requests/s, a post to each {READS_PER_POST + 1} reads, beside"
        f" {WRITERS} writers, which write {rows:,.0f} rows/s meanwhile; at the 99th percentile a read takes"
        f" {reads.text(',.0f')} ms, a post {posts.text(',.0f')} ms; no error, every posted row there"
    )


if __name__ == "__main__":
    print(main())
