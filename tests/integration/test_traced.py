"""What spans tell is recorded in every pool that Celery has."""

from __future__ import annotations

import pytest

from tests.support.installation import Installation

APP = "tests.support.traced_app"
TASKS = 20


@pytest.mark.parametrize(
    ("options", "processes"),
    [
        (["-P", "prefork", "-c", "2"], 2),
        (["-P", "threads", "-c", "4"], 1),
        (["-P", "solo"], 1),
        (["-P", "gevent", "-c", "4"], 1),
    ],
    ids=["prefork", "threads", "solo", "gevent"],
)
def test_spans_count_in_every_pool(installation: Installation, options: list[str], processes: int) -> None:
    installation.writer()
    worker = installation.worker(*options, app=APP)
    for _ in range(TASKS):
        installation.app.send_task(f"{APP}.ask")

    installation.wait_for_executions(TASKS)

    written = installation.written()
    assert (written.executions, written.input_tokens, written.output_tokens) == (TASKS, 90 * TASKS, 12 * TASKS)
    set_up_in = [pid for pid, _ in installation.truth_of("set-up")]
    assert len(set_up_in) == len(set(set_up_in)) == processes, "once in each process that runs tasks"
    assert "Overriding of current TracerProvider" not in worker.log
