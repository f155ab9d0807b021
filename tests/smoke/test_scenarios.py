"""The whole way of an event, undisturbed and disturbed. Each scenario runs over processes and over containers."""

from __future__ import annotations

from collections import Counter

from aurea_celery.storage.audit import audit
from tests.smoke.deployments import Deployment
from tests.support.installation import Installation
from tests.support.servers import wait_until

TASKS = 400


def test_every_task_is_a_row(deployment: Deployment) -> None:
    installation = deployment.installation
    installation.send("spend", 100, 20)
    installation.send("pair", 50)
    installation.send("fail")
    installation.send("flaky")
    installation.send("plain")

    installation.wait_for_executions(7)

    rows = installation.query(
        "SELECT task_name, status, attempt, token_count FROM metrics ORDER BY token_count DESC, attempt"
    )
    name = "tests.support.user_app"
    assert [tuple(row) for row in rows] == [
        (f"{name}.spend", "success", 0, 120),
        ("pair", "success", 0, 50),
        (f"{name}.flaky", "retry", 0, 10),
        (f"{name}.flaky", "retry", 1, 10),
        (f"{name}.flaky", "success", 2, 10),
        (f"{name}.fail", "failure", 0, 7),
        (f"{name}.plain", "success", 0, 0),
    ]
    check_books(installation)


def test_a_worker_is_killed_and_started_again(deployment: Deployment) -> None:
    installation = deployment.installation
    installation.send_many("spend", [(number, 1, 0.005) for number in range(TASKS)])
    wait_until(lambda: len(installation.truth_of("begun")) >= TASKS // 4, "a quarter of the tasks")

    deployment.kill_worker()
    deployment.start_worker()
    # Two children are killed in the middle of a task, and Celery acknowledges a task just before its body runs. What
    # the worker had not begun comes back within seconds; kombu before 5.7 looks every 100 s, whatever it is told.
    wait_until(lambda: len(installation.truth_of("spent")) >= TASKS - 4, "every task", seconds=150)

    wait_until(lambda: is_all_written(installation), "whatever the tasks wrote down being in the database")
    written = installation.written()
    # A process that is killed between our line and its own leaves more in the database than it wrote down.
    assert written.executions <= len(installation.truth_of("begun")) + 2
    assert written.token_count <= sum(tokens for _, tokens in installation.truth_of("spent")) + 2 * TASKS
    check_books(installation)


def test_the_broker_is_restarted(deployment: Deployment) -> None:
    installation = deployment.installation
    half = [(number, 1) for number in range(TASKS // 2)]
    installation.send_many("spend", half)
    wait_until(lambda: len(installation.truth_of("spent")) == TASKS // 2, "the first half")

    deployment.restart_broker()
    installation.send_many("spend", half)
    installation.wait_for_executions(TASKS)

    written = installation.written()
    assert (written.executions, written.token_count) == (TASKS, 2 * sum(map(sum, half)))
    check_books(installation)


def is_all_written(installation: Installation) -> bool:
    """Whether the database has each execution and each token that the tasks wrote down themselves."""
    begun = Counter(task_id for task_id, _ in installation.truth_of("begun"))
    spent: Counter[str] = Counter()
    for task_id, tokens in installation.truth_of("spent"):
        spent[task_id] += tokens
    rows = installation.query(
        "SELECT task_id, sum(executions)::int AS executions, sum(token_count)::int AS tokens FROM metrics GROUP BY 1"
    )
    executions = Counter({row.task_id: row.executions for row in rows})
    written = Counter({row.task_id: row.tokens for row in rows})
    return not begun - executions and not spent - written


def check_books(installation: Installation) -> None:
    """Everything that was captured is written, and nothing was rejected, dropped or is on its way."""
    wait_until(lambda: (books := audit(installation.database_url).books).captured == books.written, "books that close")
    assert audit(installation.database_url).is_clean
