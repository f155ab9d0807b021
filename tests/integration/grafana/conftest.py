"""Databases for the dashboard's queries, empty, small and full, on each PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from aurea_celery.storage.budgets import BudgetKey, set_budget
from tests.support.databases import Databases, connected
from tests.support.grafana_databases import HOSTILE, allow_reading, fill
from tests.support.history import history
from tests.support.recorded import execution, model_call, write


@pytest.fixture(scope="module", params=["embedded", "system"])
def servers_databases(request: pytest.FixtureRequest) -> Databases:
    """The databases of each PostgreSQL there is."""
    found: Databases = request.getfixturevalue("databases" if request.param == "embedded" else "system_databases")
    return found


@pytest.fixture(scope="module")
def small_url(servers_databases: Databases) -> Iterator[str]:
    """Executions of every kind, jobs with hostile names, and budgets."""
    with servers_databases.migrated() as url:
        with connected(url) as connection:
            allow_reading(connection)
            set_budget(connection, BudgetKey(job="", task="", period="month"), Decimal(10))
            set_budget(connection, BudgetKey(job="chat/*", task="", period="job"), Decimal(1))
            set_budget(connection, BudgetKey(job="nobody", task="", period="day"), Decimal(0))
        write(url, *history(5, 400))
        write(url, *(execution(name, name, model_call(name)) for name in HOSTILE))
        yield url


@pytest.fixture(scope="module")
def every_url(servers_databases: Databases, small_url: str) -> Iterator[list[str]]:
    """An empty, a small and a full database."""
    with servers_databases.migrated() as empty, servers_databases.migrated() as full:
        for url in (empty, full):
            with connected(url) as connection:
                allow_reading(connection)
        fill(full)
        yield [empty, small_url, full]
