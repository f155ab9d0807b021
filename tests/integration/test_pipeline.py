"""The whole way: a user's task, outbox, publisher, queue, writer, Postgres."""

from __future__ import annotations

from tests.support.installation import Installation


def test_every_kind_of_ending_is_a_row(each_installation: Installation) -> None:
    each_installation.writer()
    each_installation.worker("-c", "2")
    each_installation.send("spend", 100, 20)
    each_installation.send("pair", 50)
    each_installation.send("fail")
    each_installation.send("flaky")
    each_installation.send("plain")

    each_installation.wait_for_executions(7)

    rows = each_installation.query(
        "SELECT task_name, status, attempt, model_used, token_count, error_type, latency_ms > 0, job_id = root_id"
        " FROM metrics ORDER BY task_name, attempt"
    )
    name = "tests.support.user_app"
    assert [tuple(row) for row in rows] == [
        ("pair", "success", 0, "gpt-4", 50, None, True, True),
        (f"{name}.fail", "failure", 0, "gpt-4", 7, "ValueError", True, True),
        (f"{name}.flaky", "retry", 0, "gpt-4", 10, "Retry", True, True),
        (f"{name}.flaky", "retry", 1, "gpt-4", 10, "Retry", True, True),
        (f"{name}.flaky", "success", 2, "gpt-4", 10, None, True, True),
        (f"{name}.plain", "success", 0, "none", 0, None, True, True),
        (f"{name}.spend", "success", 0, "gpt-4", 120, None, True, True),
    ]
