"""Databases for the dashboard, empty, small and full, on each PostgreSQL; made once, for they are read only."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from aurea_celery.storage.budgets import BudgetKey, set_budget
from tests.support.databases import Databases, connected
from tests.support.grafana_databases import HOSTILE, allow_reading, fill
from tests.support.history import history
from tests.support.recorded import execution, model_call, write


@pytest.fixture(scope="session", params=["embedded", "system"])
def servers_databases(request: pytest.FixtureRequest) -> Databases:
    """The databases of each PostgreSQL there is."""
    found: Databases = request.getfixturevalue("databases" if request.param == "embedded" else "system_databases")
    return found


@pytest.fixture(scope="session")
def bare_url(servers_databases: Databases) -> Iterator[str]:
    """A database with nothing in it."""
    with servers_databases.migrated() as url:
        allow_reading(url)
        yield url


@pytest.fixture(scope="session")
def small_url(servers_databases: Databases) -> Iterator[str]:
    """Executions of every kind, jobs with hostile names, and budgets."""
    with servers_databases.migrated() as url:
        allow_reading(url)
        with connected(url) as connection:
            set_budget(connection, BudgetKey(job="", task="", period="month"), Decimal(10))
            set_budget(connection, BudgetKey(job="chat/*", task="", period="job"), Decimal(1))
            set_budget(connection, BudgetKey(job="nobody", task="", period="day"), Decimal(0))
        write(url, *history(5, 400))
        write(url, *(execution(name, name, model_call(name)) for name in HOSTILE))
        yield url


@pytest.fixture(scope="session")
def full_url(servers_databases: Databases) -> Iterator[str]:
    """A year of executions, which ends now."""
    with servers_databases.migrated() as url:
        allow_reading(url)
        fill(url)
        yield url


@pytest.fixture(scope="session")
def every_url(bare_url: str, small_url: str, full_url: str) -> list[str]:
    """An empty, a small and a full database."""
    return [bare_url, small_url, full_url]
