"""A user's process that forks while its publisher runs."""

from __future__ import annotations

import os

from celery import Celery

from aurea_celery import Aurea, monitor_task

aurea = Aurea(Celery("forking", broker=os.environ["BROKER_URL"]))


def work(job_id: str) -> None:
    """One monitored call."""
    monitor_task(job_id, "task", "gpt-4")(lambda: ("text", 1))()


def main() -> None:
    """Call, fork three children that call too, call again."""
    work("before")
    children = []
    for number in range(3):
        pid = os.fork()
        if not pid:
            work(f"child {number}")
            work(f"child {number}")
            aurea.close()  # a child that leaves with os._exit runs no exit handlers
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    work("after")


if __name__ == "__main__":
    main()
