"""Laws of the way in: COPY changes no value, a message may be old in part, a session may be taken over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aurea_celery.clock import from_us
from aurea_celery.events import TaskEvent, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.bulk import PIECE_ROWS, copy, copy_lines
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.write import Writer
from tests.support.databases import connected, scalar
from tests.support.events import make_event, make_source

Values = tuple[str | None, int | None, Decimal | None, bool, datetime]

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    [
        "",
        "null",
        "NULL",
        "\\N",
        "\\.",
        '"',
        "\\",
        "\\n",
        "\n",
        "\r\n",
        "\\\n",
        '\\"',
        "]\n[",
        ",",
        "\x01\x1f\x7f",
        "u0001",
    ]
)
values = st.tuples(
    st.none() | texts,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    st.booleans(),
    st.integers(0, 2**52).map(from_us),
)


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    with connected(database_url) as opened:
        opened.execute(
            sa.text("CREATE TEMP TABLE landed (place int, a text, b bigint, c numeric, d boolean, e timestamptz)")
        )
        yield opened


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(values, max_size=5))
@example(rows=[("\\\\n\n", number, Decimal("1E+3"), True, datetime(2026, 9, 1, tzinfo=UTC)) for number in range(120)])
def test_copy_changes_no_value(rows: list[Values], connection: sa.Connection) -> None:
    connection.execute(sa.text("DELETE FROM landed"))

    copy(connection, "landed", ("place", *"abcde"), copy_lines((place, *row) for place, row in enumerate(rows)))

    landed = connection.execute(sa.text("SELECT a, b, c, d, e FROM landed ORDER BY place"))
    assert [tuple(row) for row in landed] == rows


def test_what_making_the_rows_raises_is_raised(connection: sa.Connection) -> None:
    def rows() -> Iterator[tuple[int]]:
        for number in range(PIECE_ROWS * 3):
            yield (number // (100 - number),)

    with pytest.raises(ZeroDivisionError):
        copy(connection, "landed", ("place",), copy_lines(rows()))
    connection.rollback()


def message(*sent: TaskEvent) -> str:
    return encode_batch([(make_source(captured=len(sent)), [encode(event) for event in sent])]).decode()


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    opened = Writer(database_url, pricing_of)
    yield opened
    opened.close()


def test_a_message_may_be_old_in_part_and_hold_an_event_twice(writer: Writer, database_url: str) -> None:
    events = [make_event() for _ in range(6)]
    writer.write(message(*events[:4]))
    writer.write(message(*events[2:], events[5]))

    assert scalar(database_url, "SELECT sum(executions) FROM metrics") == 6
    with connected(database_url) as connection:
        books = connection.execute(sa.text("SELECT written, duplicates FROM metrics_sources ORDER BY first_seen_at"))
        assert [tuple(row) for row in books] == [(4, 0), (2, 3)]
        assert rollup_differences(connection) == {}


def test_an_old_event_and_one_that_breaks_a_rule_in_one_message(writer: Writer, database_url: str) -> None:
    old, new, bad = make_event(), make_event(), make_event(worker="a\0b")
    writer.write(message(old))
    writer.write(message(old, bad, new))

    assert scalar(database_url, "SELECT sum(executions) FROM metrics") == 2
    assert scalar(database_url, "SELECT count(*) FROM metrics_rejected") == 1
    with connected(database_url) as connection:
        assert rollup_differences(connection) == {}


def outside_of_transactions(writer: Writer, statement: str) -> None:
    """Execute a statement in the writer's one session, as a pooler's other clients may do."""
    session = writer._engine.raw_connection()
    raw: Any = session.dbapi_connection
    raw.autocommit = True
    raw.cursor().execute(statement)
    raw.autocommit = False
    session.close()


@pytest.mark.parametrize("taken", ["DISCARD ALL", "DISCARD TEMP", "DEALLOCATE ALL"])
def test_a_session_that_lost_what_we_made_in_it_gets_it_again(writer: Writer, database_url: str, taken: str) -> None:
    writer.write(message(make_event()))
    outside_of_transactions(writer, taken)
    writer.write(message(make_event()))

    assert scalar(database_url, "SELECT sum(executions) FROM metrics") == 2


def test_the_catalogue_does_not_grow(writer: Writer, database_url: str) -> None:
    writer.write(message(make_event()))
    before = scalar(database_url, "SELECT count(*) FROM pg_class")
    for _ in range(5):
        writer.write(message(make_event(), make_event(worker="a\0b")))

    assert scalar(database_url, "SELECT count(*) FROM pg_class") == before
