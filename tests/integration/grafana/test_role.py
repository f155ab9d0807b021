"""The role that ``aurea db reader`` makes may read what the dashboard reads, and may change nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from aurea_celery.storage.reader import make_reader
from deploy.grafana.expand import Range, expand
from tests.support import history
from tests.support.databases import connected
from tests.support.grafana import QUERIES, RULES, rule_sql

ROLE = f"grafana_reader_of_{os.getpid()}"
"""Roles belong to the whole server, which other tests may share."""

EVER = Range(history.BEGIN, history.END)


@pytest.fixture
def cursor(database_url: str) -> Iterator[Any]:
    """A cursor of the role, which is gone after the test."""
    with connected(database_url) as connection:
        make_reader(connection, ROLE, "a-password-of-a-test")
    with contextlib.closing(psycopg2.connect(database_url)) as opened:
        opened.autocommit = True
        with opened.cursor() as used:
            used.execute(f"SET ROLE {ROLE}")
            yield used
            used.execute(f"RESET ROLE; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def test_it_may_ask_everything_that_grafana_asks(cursor: Any) -> None:
    for sql in (*(query.sql for query in QUERIES), *map(rule_sql, RULES)):
        cursor.execute(expand(sql, EVER))


@pytest.mark.parametrize("change", ["DELETE FROM metrics", "UPDATE budgets SET usd = 0", "DROP TABLE metrics_15m"])
def test_it_may_change_nothing(cursor: Any, change: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(change)
