"""Beside others who hook into Celery, installed twice, and in a Django project: each execution is a row."""

from __future__ import annotations

from tests.support.installation import Installation

NEIGHBOURS = "tests.support.neighbours_app"
DJANGO = "tests.support.django_project"


def test_sentry_opentelemetry_and_the_plugin_thrice(installation: Installation) -> None:
    installation.writer(app=NEIGHBOURS)
    worker = installation.worker("-c", "2", app=NEIGHBOURS)
    for number in range(20):
        installation.app.send_task(f"{NEIGHBOURS}.retry", headers={"aurea_job": f"job {number % 2}"})

    installation.wait_for_executions(80)

    rows = installation.query(
        "SELECT job_id, split_part(task_name, '.', 4), status, attempt, error_type, sum(executions)::int,"
        " sum(token_count)::int FROM metrics GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 4"
    )
    assert [tuple(row) for row in rows] == [
        row
        for job in ("job 0", "job 1")
        for row in (
            (job, "fail", "failure", 0, "KeyError", 10, 70),
            (job, "retry", "retry", 0, "Retry", 10, 70),
            (job, "retry", "retry", 1, "Retry", 10, 70),
            (job, "retry", "success", 2, None, 10, 70),
        )
    ]
    assert "internal fault" not in worker.log


def test_a_django_project(installation: Installation) -> None:
    environ = {"DJANGO_SETTINGS_MODULE": f"{DJANGO}.settings"}
    installation.writer(app=DJANGO, **environ)
    worker = installation.worker("-c", "2", app=DJANGO, **environ)
    for name, arguments in (("hidden", ()), ("shared", (5,)), ("monitored", (7,))):
        installation.app.send_task(f"{DJANGO}.tasks.{name}", args=arguments, queue="django")

    installation.wait_for_executions(2)

    rows = installation.query("SELECT task_name, token_count, tags FROM metrics ORDER BY token_count")
    assert [tuple(row) for row in rows] == [
        (f"{DJANGO}.tasks.shared", 5, {"project": "django"}),
        (f"{DJANGO}.tasks.monitored", 7, {"project": "django"}),
    ]
    worker.stop()
    assert "internal fault" not in worker.log
    check = installation.run("check", ["aurea_celery.cli", "check"])
    assert check.wait() == 0
    assert "Left out by the settings: 1 excluded." in check.log


def test_what_django_sends_when_a_transaction_is_committed(installation: Installation) -> None:
    """It is of the job and has the tags of the block in which that was asked for, though that has ended by then."""
    environ = {"DJANGO_SETTINGS_MODULE": f"{DJANGO}.settings"}
    installation.writer(app=DJANGO, **environ)
    worker = installation.worker("-c", "2", app=DJANGO, **environ)
    client = installation.run("client", [f"{DJANGO}.send"], environ)
    assert client.wait() == 0

    installation.wait_for_executions(11)

    columns = "token_count, CASE WHEN job_id = root_id THEN NULL ELSE job_id END, tags - 'project'"
    rows = installation.query(f"SELECT {columns} FROM metrics WHERE token_count > 0 ORDER BY token_count")
    customer = {"customer": "acme"}
    assert [tuple(row) for row in rows] == [
        (1, "nightly", customer),
        (2, "nightly", {"customer": "acme", "step": "second"}),
        (3, "nightly", customer),
        (4, "nightly", customer),
        (5, "inner", customer),
        (6, "inside", {"customer": "acme", "step": "second"}),
        (7, "monitored", {}),
        (8, "another", {}),
        (9, None, {}),
    ]
    assert "internal fault" not in worker.log + client.log
