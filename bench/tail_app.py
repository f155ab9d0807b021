"""The app of :mod:`bench.tail`: empty tasks that note when they begin and end, and how long the plugin had them."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from celery import Celery, signals

from aurea_celery import Aurea

NOTE = "bench.note"

_noted: list[tuple[int, int]] = []
_handled: list[int] = []
_before_us: list[int] = []


def _now() -> int:
    return time.perf_counter_ns()


def _before(**_: Any) -> None:
    """Called before the plugin's handler of the same signal."""
    _before_us.append(_now())


def _after(sender: Any = None, **_: Any) -> None:
    """Called after it."""
    if sender.name == NOTE:
        _handled.append(_now() - _before_us[-1])


app = Celery("tail_app", broker=os.environ["BENCH_BROKER_URL"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
for signal in (signals.task_prerun, signals.task_postrun):  # handlers are called in the order in which they came
    signal.connect(_before, weak=False)
if os.environ.get("BENCH_WITH_AUREA"):
    Aurea(app)
for signal in (signals.task_prerun, signals.task_postrun):
    signal.connect(_after, weak=False)


@app.task(name="bench.wait_for")
def wait_for(path: str) -> None:
    """Hold the queue back until a file is there, and begin new lists."""
    while not Path(path).exists():
        time.sleep(0.01)
    for one in (_noted, _handled, _before_us):
        one.clear()


@app.task(name=NOTE)
def note() -> None:
    """An empty task."""
    now = _now()
    _noted.append((now, _now()))


@app.task(name="bench.write")
def write(path: str) -> None:
    """Write, in microseconds, the gaps between the tasks, and how long both handlers took around each."""
    gaps = [(begun - ended) / 1e3 for (_, ended), (begun, _) in pairwise(_noted)]
    handled = [(first + last) / 1e3 for first, last in zip(_handled[::2], _handled[1::2], strict=False)]
    partial = Path(path).with_suffix(".partial")
    partial.write_text(json.dumps([gaps, handled]))
    partial.rename(path)
