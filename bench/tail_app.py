"""The app of :mod:`bench.tail`: empty tasks that note when they begin and end."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path

from celery import Celery

from aurea_celery import Aurea

app = Celery("tail_app", broker=os.environ["BENCH_BROKER_URL"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
if os.environ.get("BENCH_WITH_AUREA"):
    Aurea(app)

_noted: list[tuple[int, int]] = []


@app.task(name="bench.wait_for")
def wait_for(path: str) -> None:
    """Hold the queue back until a file is there, and begin a new list."""
    while not Path(path).exists():
        time.sleep(0.01)
    _noted.clear()


@app.task(name="bench.note")
def note() -> None:
    """An empty task."""
    now = time.perf_counter_ns()
    _noted.append((now, time.perf_counter_ns()))


@app.task(name="bench.write")
def write(path: str) -> None:
    """Write the gaps between the tasks, in microseconds: whatever the worker did between their bodies."""
    gaps = [(begun - ended) / 1e3 for (_, ended), (begun, _) in pairwise(_noted)]
    partial = Path(path).with_suffix(".partial")
    partial.write_text(json.dumps(gaps))
    partial.rename(path)
