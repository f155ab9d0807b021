"""Budgets where tasks run: real workers, which learn over the broker alone what is used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from aurea_celery.storage.budgets import BudgetKey, set_budget
from tests.integration.in_process.worker import close_results
from tests.support.databases import connected
from tests.support.installation import Installation
from tests.support.recorded import execution, model_call, write
from tests.support.servers import wait_until

APP = "tests.support.budget_app"
NO_DATABASE = {"DATABASE_URL": ""}
POOLS = {"prefork": ["-P", "prefork", "-c", "2"], "threads": ["-P", "threads", "-c", "2"], "solo": ["-P", "solo"]}


class Client:
    """Who sends tasks and looks at their results."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("client", broker=broker_url, backend=broker_url)
        self._app.conf.broker_connection_retry_on_startup = True

    def send(self, task: str, *args: Any, job: str = "nightly", **options: Any) -> AsyncResult[Any]:
        """Publish a task as part of a job."""
        return self._app.send_task(f"{APP}.{task}", args=args, headers={"aurea_job": job}, **options)

    def signature(self, task: str) -> Any:
        """A callback."""
        return self._app.signature(f"{APP}.{task}")

    def close(self) -> None:
        """Close the connections."""
        close_results(self._app)
        self._app.close()


@pytest.fixture
def client(installation: Installation) -> Iterator[Client]:
    found = Client(installation.broker_url)
    yield found
    found.close()


def set_one(installation: Installation, usd: str, job: str = "nightly", on_exceed: str = "block") -> None:
    with connected(installation.database_url) as connection:
        key = BudgetKey(job=job, task="", period="job")
        set_budget(connection, key, Decimal(usd), on_exceed=on_exceed)  # type: ignore[arg-type]  # one of the two


def use_up(installation: Installation, usd: str = "6", job: str = "nightly") -> None:
    """Spend elsewhere, so that no process of this host has anything to say of it."""
    write(installation.database_url, execution(job, "elsewhere", model_call("own", 1, usd)))


def wait_for_copy(installation: Installation, text: str) -> None:
    """Wait until the host's processes know something of budgets."""

    def knows() -> bool:
        return any(text in copy.read_text() for copy in installation.outbox.glob("*/.budgets"))

    wait_until(knows, f"{text} in the host's copy")


def test_a_job_stops_when_its_budget_is_used_up(installation: Installation, client: Client) -> None:
    """200 tasks of ten cents, five dollars, two workers with two children each."""
    set_one(installation, "5")
    installation.writer(app=APP)
    workers = [installation.worker("-c", "2", "-n", f"w{n}@%h", app=APP, **NO_DATABASE) for n in (1, 2)]

    results = [client.send("pay", 0.3) for _ in range(200)]
    installation.wait_for_executions(200)

    ran = len(installation.truth_of("begun"))
    rows = installation.query("SELECT status, error_type, count(*)::int, sum(cost_estimate) FROM metrics GROUP BY 1, 2")
    assert sorted(map(tuple, rows)) == [
        ("failure", "BudgetExceeded", 200 - ran, Decimal(0)),
        ("success", None, ran, ran * Decimal("0.1")),
    ]
    print(f"{ran} of 200 ran: overrun ${ran * Decimal('0.1') - 5}")
    assert 50 <= ran < 150, "at most fifty and what was in flight"
    assert len(installation.truth_of("BudgetExceeded")) == 200 - ran, "on_failure is called for each"
    with pytest.raises(Exception, match=r"'nightly' has spent .* budget of \$5\.00 .* aurea budget set") as raised:
        results[-1].get(timeout=10)
    assert type(raised.value).__name__ == "BudgetExceeded"
    assert Counter(result.state for result in results) == {"SUCCESS": ran, "FAILURE": 200 - ran}
    assert not any("internal fault" in worker.log for worker in workers)


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_that_has_sent_nothing_knows(installation: Installation, client: Client, pool: str) -> None:
    set_one(installation, "5")
    installation.writer(app=APP)
    worker = installation.worker(*POOLS[pool], app=APP, **NO_DATABASE)
    wait_for_copy(installation, '"states":[]')
    use_up(installation)
    wait_for_copy(installation, '"spent_usd":"6"')

    client.send("pay", link_error=client.signature("notice"), link=client.signature("notice"))
    client.send("pay_surely")
    client.send("pay_inside", "nightly", job="free")
    inside = client.send("pay_inside", "nightly-2", job="free")
    client.send("pay", job="free")
    installation.wait_for_executions(9)  # two of them charges, one what was spent elsewhere, one the error callback

    rows = installation.query(
        "SELECT job_id, replace(task_name, :app, ''), status, error_type, attempt, count(*)::int FROM metrics"
        " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3",
        app=f"{APP}.",
    )
    assert [tuple(row) for row in rows] == [
        ("free", "pay", "success", None, 0, 1),
        ("free", "pay_inside", "success", None, 0, 2),
        ("nightly", "charge", "failure", "BudgetExceeded", 0, 1),
        ("nightly", "elsewhere", "success", None, 0, 1),
        ("nightly", "notice", "failure", "BudgetExceeded", 0, 1),
        ("nightly", "pay", "failure", "BudgetExceeded", 0, 1),
        ("nightly", "pay_surely", "failure", "BudgetExceeded", 0, 1),
        ("nightly-2", "charge", "success", None, 0, 1),
    ]
    assert inside.get(timeout=10) == "paid"
    assert "internal fault" not in worker.log
    wait_until(lambda: not installation.length_of("unacked_index"), "every message acknowledged")


def test_a_job_goes_on_when_its_budget_is_raised(installation: Installation, client: Client) -> None:
    set_one(installation, "5")
    use_up(installation)
    installation.writer(app=APP)
    installation.worker("-c", "1", app=APP, **NO_DATABASE)
    wait_for_copy(installation, '"spent_usd":"6"')
    client.send("pay")
    installation.wait_for_executions(2)

    set_one(installation, "7")
    wait_for_copy(installation, '"states":[]')
    client.send("pay")

    installation.wait_for_executions(3)
    assert len(installation.truth_of("begun")) == 1


def test_a_warning_is_a_line_and_a_budget_that_cannot_judge_says_so(installation: Installation, client: Client) -> None:
    set_one(installation, "5", on_exceed="warn")
    set_one(installation, "5", job="guess")
    use_up(installation)
    installation.writer(app=APP)
    worker = installation.worker("-P", "solo", app=APP, **NO_DATABASE)
    client.send("use_unknown", job="guess")
    wait_for_copy(installation, '"unpriced_tokens":7')
    for job in ("nightly", "nightly", "guess"):
        client.send("pay", job=job)

    installation.wait_for_executions(5)
    assert len(installation.truth_of("begun")) == 3
    assert worker.log.count("a budget is used up: job 'nightly' has spent $6.00 of its budget of $5.00") == 1
    assert worker.log.count("a budget cannot judge: job 'guess' has spent $0.00") == 1
