"""Tasks of celery-batches: a run for many messages is a row, with what its messages have in common."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.installation import Installation

APP = "tests.support.batches_app"


def send(installation: Installation, task: str, tokens: int = 1, **headers: Any) -> str:
    """Publish a message of a flush."""
    return str(installation.app.send_task(f"{APP}.{task}", args=(tokens,), headers=headers).id)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_flush_has_what_its_messages_have_in_common(installation: Installation, pool: str) -> None:
    installation.writer(app=APP)
    worker = installation.worker("-P", pool, "-c", "1", app=APP)
    for step in ("one", "two", "three"):
        send(installation, "embed", 10, aurea_job="nightly", aurea_tags={"customer": "acme", "step": step}, region="eu")
    for customer in ("acme", "ajax", "acme"):
        send(installation, "embed", 20, aurea_job=f"of {customer}", aurea_tags={"customer": customer})
    for _ in range(3):
        send(installation, "fail", aurea_job="failing")
    alone = send(installation, "embed", 40)

    installation.wait_for_executions(7)

    rows = installation.query(
        "SELECT split_part(task_name, '.', 4), job_id, status, error_type, token_count, tags - 'project', queue"
        " FROM metrics WHERE worker IS NOT NULL ORDER BY 1, token_count, 2"
    )
    acme = {"customer": "acme"}
    runs, told = [tuple(row) for row in rows[:4]], {row[1]: row[5] for row in rows[4:]}
    assert runs == [
        ("embed", "nightly", "success", None, 30, {**acme, "region": "eu"}, "celery"),
        ("embed", alone, "success", None, 40, {}, "celery"),
        ("embed", "none", "success", None, 60, {}, "celery"),
        ("fail", "failing", "failure", "LookupError", 3, {}, "celery"),
    ]
    assert len(told) == 3
    assert (told["nightly"], told[alone]) == (acme, {}), "what a run sends inherits its job and tags"
    assert "internal fault" not in worker.log
