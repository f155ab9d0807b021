"""What became of tasks of ``endings_app``: sent as jobs, looked up as rows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from aurea_celery.storage.audit import audit
from tests.support.endings import APP, Ending, Row
from tests.support.installation import Installation
from tests.support.servers import wait_until


def send(installation: Installation, ending: Ending) -> None:
    """Publish a task as a job of its own; the client needs no plugin for that."""
    installation.app.send_task(
        f"{APP}.{ending.task}", args=ending.args, headers={"aurea_job": ending.name}, **ending.options
    )


def rows_by_job(installation: Installation) -> dict[str, list[Row]]:
    """What is in the database, in the order of trying."""
    found: dict[str, list[Row]] = {}
    rows = installation.query(
        "SELECT job_id, status, error_type, attempt, redelivered, token_count, task_name FROM metrics"
        " WHERE executions = 1 ORDER BY attempt, redelivered, status"
    )
    for job_id, status, error_type, attempt, redelivered, tokens, task_name in rows:
        row = Row(status, error_type, attempt, redelivered, tokens, task_name.removeprefix(f"{APP}."))
        found.setdefault(job_id, []).append(row)
    return found


def wait_for_rows(installation: Installation, expected: Mapping[str, int]) -> None:
    """Wait until each job has as many rows as it should."""

    def differences() -> dict[str, object]:
        found = rows_by_job(installation)
        names = expected.keys() | found.keys()
        return {name: found.get(name) for name in names if len(found.get(name, [])) != expected.get(name, 0)}

    try:
        # kombu before 5.7 looks for what a killed worker had not acknowledged every 100 s, whatever it is told.
        wait_until(lambda: not differences(), "every row", seconds=130)
    except TimeoutError:
        pytest.fail(f"jobs without the right number of rows: {differences()}")


def sizes(rows: dict[str, list[Row]]) -> dict[str, int]:
    """How many rows each job has."""
    return {name: len(found) for name, found in rows.items()}


def check_books(installation: Installation) -> None:
    """Everything that was captured is written, and nothing was rejected, dropped or is on its way."""
    wait_until(lambda: (books := audit(installation.database_url).books).captured == books.written, "books that close")
    assert audit(installation.database_url).is_clean
