"""The project's code in a web process: it sends tasks when a transaction is committed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import django
from django.db import connection, transaction

from aurea_celery import carry_context, job, monitor_task
from tests.support.django_project.celery import app


def main() -> None:
    """Send tasks whose numbers of tokens tell them apart."""
    app.set_current()
    django.setup()
    tasks: Any = import_module("tests.support.django_project.tasks")

    def query_and_send(tokens: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        tasks.shared.delay(tokens)

    @monitor_task("monitored", "monitored")
    def monitored() -> None:
        tasks.shared.delay_on_commit(7)

    with transaction.atomic():
        with job("nightly", tags={"customer": "acme"}):
            tasks.shared.delay_on_commit(1)
            tasks.shared.apply_async_on_commit(args=(2,), aurea_tags={"step": "second"})
            tasks.owned.delay_on_commit(tokens=3)
            transaction.on_commit(carry_context(lambda: query_and_send(4)), robust=True)
            with job("inner"):
                tasks.shared.delay_on_commit(5)
            tasks.send_when_committed.delay_on_commit(6)
        monitored()
        with job("another"):
            tasks.shared.delay_on_commit(8)
        tasks.shared.delay_on_commit(9)
    with transaction.atomic(), job("rolled back"):
        tasks.shared.delay_on_commit(10)
        transaction.set_rollback(True)


if __name__ == "__main__":
    main()
