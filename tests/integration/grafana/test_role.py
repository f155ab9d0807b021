"""The role that the page makes may read what the dashboard reads, and may change nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from deploy.grafana.expand import Range, expand
from tests.support import history
from tests.support.grafana import QUERIES, ROOT, RULES, rule_sql

PAGE = (ROOT / "docs/grafana.md").read_text()
EVER = Range(history.BEGIN, history.END)


@pytest.fixture
def cursor(database_url: str) -> Iterator[Any]:
    """A cursor of the role, which is gone after the test."""
    (example,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as opened:
            opened.execute(example)
            opened.execute("SET ROLE aurea_reader")
            yield opened
            opened.execute("RESET ROLE; DROP OWNED BY aurea_reader; DROP ROLE aurea_reader")


def test_it_may_ask_everything_that_grafana_asks(cursor: Any) -> None:
    for sql in (*(query.sql for query in QUERIES), *map(rule_sql, RULES)):
        cursor.execute(expand(sql, EVER))


@pytest.mark.parametrize("change", ["DELETE FROM metrics", "UPDATE budgets SET usd = 0", "DROP TABLE metrics_15m"])
def test_it_may_change_nothing(cursor: Any, change: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(change)
