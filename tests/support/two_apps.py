"""Two Celery apps with the plugin in one process; one of them is closed again."""

from __future__ import annotations

import os

from celery import Celery

from aurea_celery import Aurea, monitor_task

first = Aurea(Celery("first", broker=os.environ["BROKER_URL"], set_as_current=False))
second = Aurea(queue="other_metrics")
second.init_app(Celery("second", broker=os.environ["BROKER_URL"], set_as_current=False))


def main() -> None:
    """Two calls while the first app is there, one after it was closed."""
    monitor_task("first", "one")(lambda: None)()
    monitor_task("first", "two")(lambda: None)()
    first.close()
    monitor_task("second", "three")(lambda: None)()


if __name__ == "__main__":
    main()
