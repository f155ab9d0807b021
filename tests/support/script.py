"""A user's plain process: a script with a monitored function and no worker."""

from __future__ import annotations

import os
import sys

from celery import Celery

from aurea_celery import Aurea, job, monitor_task

Aurea(Celery("script", broker=os.environ["BROKER_URL"]))


@monitor_task(task_name="translate", model_used="gpt-4")
def translate(text: str) -> tuple[str, int]:
    """The document's pair: a result and its tokens."""
    return text.upper(), 10


def main(count: int) -> None:
    """Call the function, and print what it returned last."""
    with job("a script"):
        for _ in range(count):
            result = translate("hello")
    print(result)


if __name__ == "__main__":
    main(int(sys.argv[1]))
