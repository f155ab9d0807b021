"""The app of the backlog: captures many executions of a monitored function, and says what memory that took."""

from __future__ import annotations

import json
import os
import random
import sys
import time

from celery import Celery

from aurea_celery import Aurea, job, monitor_task
from bench.memory import resident_bytes
from bench.writer import MODELS, TASKS

app = Celery("backlog", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.broker_connection_retry_on_startup = True
aurea = Aurea(app)
REPORTS = 10


def generate(rng: random.Random) -> dict[str, object]:
    """A function that is a response."""
    usage = {"prompt_tokens": rng.randrange(1, 4_000), "completion_tokens": rng.randrange(1, 800)}
    return {"model": rng.choice(MODELS), "usage": usage}


def main(events: int) -> None:
    """Call the function so often, and print seconds and memory as JSON."""
    rng = random.Random(1)
    functions = [monitor_task(task_name=f"app.{name}")(generate) for name in TASKS]
    resident: list[int] = []
    begun = time.perf_counter()
    for number in range(events):
        if number % (events // REPORTS) == 0:
            resident.append(resident_bytes())
        with job(f"job-{rng.randrange(20)}"):
            functions[number % len(functions)](rng)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "resident_bytes": [*resident, resident_bytes()]}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
