"""Laws of writing: once by ``event_id``, sums exact whatever the order, rollups equal to their rows."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery.events import Cost, ModelCall, Source, TaskEvent, Usage, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.pricing import PriceBook
from aurea_celery.storage import rollups
from aurea_celery.storage.books import read_books
from aurea_celery.storage.write import Writer
from tests.support.databases import Databases, connected
from tests.support.events import events, make_event, make_source

MEASURES = (
    "sum(executions), sum(calls), sum(token_count), sum(input_tokens), sum(output_tokens), sum(unpriced_tokens),"
    " sum(latency_ms), sum(cost_estimate)"
)
RAW_MEASURES = MEASURES.replace("sum(input_tokens)", "sum(coalesce(input_tokens, 0))").replace(
    "sum(output_tokens)", "sum(coalesce(output_tokens, 0))"
)
BOOK = PriceBook()
NOW = datetime(2026, 9, 1, tzinfo=UTC)
slowly = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def message(source: Source, sent: list[TaskEvent]) -> str:
    return encode_batch([(source, [encode(event) for event in sent])]).decode()


@contextlib.contextmanager
def writing(url: str) -> Iterator[Writer]:
    writer = Writer(url, pricing_of)
    try:
        yield writer
    finally:
        writer.close()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def rollup_contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    return {one.table: sorted(query(url, f"SELECT * FROM {one.table}"), key=repr) for one in rollups.ROLLUPS}


def check_rollups(url: str) -> None:
    """Every rollup equals its rows, to the last digit, in total and when it is made anew."""
    raw = query(url, f"SELECT {RAW_MEASURES} FROM metrics")
    for one in rollups.ROLLUPS[:3]:
        assert query(url, f"SELECT {MEASURES} FROM {one.table}") == raw, one.table
    histogram = query(url, "SELECT sum(executions) FROM metrics_latency_15m")
    assert histogram == query(url, "SELECT sum(executions) FROM metrics")
    before = rollup_contents(url)
    with connected(url) as connection:
        rollups.rebuild(connection)
    assert rollup_contents(url) == before


def test_a_repetition_is_expected_to_be_there_already(database_url: str) -> None:
    """With sync delivery each event comes by itself first, and a batch of all of them after that."""
    source, sent = make_source(captured=3), [make_event() for _ in range(3)]
    batch = encode_batch([(source, [encode(event) for event in sent])], is_repetition=True).decode()
    with writing(database_url) as writer:
        for event in sent[:2]:
            writer.write(message(source, [event]))
        errors: list[object] = []
        sa.event.listen(writer._engine, "handle_error", errors.append)
        writer.write(batch)

    assert query(database_url, "SELECT sum(executions)::int, count(*)::int FROM metrics") == [(3, 3)]
    assert query(database_url, "SELECT captured, written, duplicates FROM metrics_sources") == [(3, 3, 2)]
    assert not errors, "PostgreSQL's log has a line for each such batch"
    check_rollups(database_url)


@slowly
@given(sent=st.lists(events(), max_size=8, unique_by=lambda event: event.event_id), data=st.data())
def test_any_order_and_any_redelivery_write_the_same(
    sent: list[TaskEvent], data: st.DataObject, databases: Databases
) -> None:
    split = data.draw(st.integers(0, len(sent)))
    source = make_source(captured=len(sent))
    parts = [message(source, sent[:split]), message(source, sent[split:])]
    redelivered = data.draw(st.lists(st.sampled_from(parts), max_size=3))
    order = data.draw(st.permutations(parts + redelivered))
    with databases.migrated() as url, writing(url) as writer:
        for one in order:
            writer.write(one)

        assert query(url, "SELECT count(DISTINCT event_id), coalesce(sum(executions), 0) FROM metrics") == [
            (len(sent), len(sent))
        ]
        check_rollups(url)
        tokens = sum(call.usage.token_count for event in sent for call in event.calls)
        assert query(url, "SELECT coalesce(sum(token_count), 0) FROM metrics") == [(tokens,)]
        cost = sum((BOOK.cost(call, NOW).usd for event in sent for call in event.calls), Decimal(0))
        assert query(url, "SELECT coalesce(sum(cost_estimate), 0) FROM metrics") == [(cost,)]
        books = query(url, "SELECT captured, written, rejected, written + rejected + duplicates FROM metrics_sources")
        handled = sum(len(sent[:split]) if one is parts[0] else len(sent[split:]) for one in order)
        assert books == [(len(sent), len(sent), 0, handled)]


@slowly
@given(event=events())
def test_an_event_is_stored_as_it_was(event: TaskEvent, database_url: str) -> None:
    with writing(database_url) as writer:
        writer.write(message(make_source(captured=1), [event]))

    with connected(database_url) as connection:
        rows = connection.execute(
            sa.text("SELECT * FROM metrics WHERE event_id = :id ORDER BY seq"), {"id": event.event_id}
        ).all()
    assert {(row.job_id, row.task_name, row.status, row.error_type) for row in rows} == {
        (event.job_id, event.task_name, event.status, event.error_type)
    }
    assert {row.tags == event.tags for row in rows} == {True}
    assert [row.executions for row in rows] == [1] + [0] * (len(rows) - 1)
    assert sum(row.latency_ms for row in rows) == Decimal(event.latency_us) / 1000
    assert int(rows[0].created_at.timestamp() * 1_000_000 + 0.5) == event.ended_at_us
    spent = {row.model_used: row.token_count for row in rows}
    for call in event.calls:
        spent[call.model or call.response_model or "unknown"] -= call.usage.token_count
    assert set(spent.values()) == {0}


def test_every_release_of_postgres_takes_the_same(each_database_url: str) -> None:
    calls = (
        ModelCall(usage=Usage(input_tokens=1_000, output_tokens=500), model="gpt-4"),
        ModelCall(usage=Usage(total_tokens=10), model="nobody-knows"),
        ModelCall(usage=Usage(input_tokens=1), model="gpt-4", cost_usd=Decimal("0.000000001")),
    )
    with writing(each_database_url) as writer:
        writer.write_events(make_source(captured=2), [make_event(calls=calls), make_event()])
        writer.write_events(make_source(captured=1), [make_event(ended_at_us=0, started_at_us=0)])

    rows = query(
        each_database_url,
        "SELECT model_used, seq, executions, calls, token_count, cost_estimate, cost_status, unpriced_tokens"
        " FROM metrics WHERE created_at > '2000-01-01' ORDER BY model_used, seq",
    )
    assert rows == [
        ("gpt-4", 0, 1, 2, 1_501, Decimal("0.060000001"), "priced", 0),
        ("nobody-knows", 1, 0, 1, 10, Decimal(0), "unpriced", 10),
        ("none", 0, 1, 0, 0, Decimal(0), "no_usage", 0),
    ]
    check_rollups(each_database_url)


def test_an_event_that_breaks_a_rule_is_kept_aside_and_its_neighbours_written(database_url: str) -> None:
    source = make_source(captured=3)
    # NUL cannot be stored in PostgreSQL, and no rule of the wire form says so.
    bad = make_event(worker="a\0b")
    with writing(database_url) as writer:
        for _ in range(2):
            writer.write(message(source, [make_event(event_id=EVENT_IDS[0]), bad, make_event(event_id=EVENT_IDS[1])]))

    assert query(database_url, "SELECT sum(executions) FROM metrics") == [(2,)]
    (reason, kept_for), *others = query(database_url, "SELECT reason, source_id::text FROM metrics_rejected")
    assert others == []
    assert "0x00" in str(reason)
    assert kept_for == source.source_id
    assert query(database_url, "SELECT captured, written, rejected, duplicates FROM metrics_sources") == [(3, 2, 1, 3)]
    check_rollups(database_url)


EVENT_IDS = ("01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002")


def test_a_batch_whose_books_cannot_be_kept_is_kept_aside(database_url: str) -> None:
    with writing(database_url) as writer:
        writer.write(message(make_source(host="a\0b"), [make_event()]))

    assert query(database_url, "SELECT count(*) FROM metrics") == [(0,)]
    (reason,) = query(database_url, "SELECT reason FROM metrics_rejected")
    assert str(reason[0]).startswith("internal fault: ")


def test_a_fault_of_the_price_list_costs_no_event(database_url: str) -> None:
    class Broken(PriceBook):
        def cost(self, call: ModelCall, at: datetime) -> Cost:
            raise ZeroDivisionError

    writer = Writer(database_url, lambda _: Broken())
    call = ModelCall(usage=Usage(total_tokens=1), model="gpt-4")
    batch = message(make_source(), [make_event(calls=(call,))])
    writer.write(batch)
    writer.close()

    assert query(database_url, "SELECT reason, payload FROM metrics_rejected") == [
        ("internal fault: ZeroDivisionError", batch)
    ]


def test_names_too_large_for_an_index_are_kept_aside(database_url: str) -> None:
    rng = random.Random(1)
    job_id, task_name, model = ("".join(chr(rng.randrange(0x10000, 0x10FFFF)) for _ in range(255)) for _ in range(3))
    large = make_event(job_id=job_id, task_name=task_name, calls=(ModelCall(usage=Usage(total_tokens=1), model=model),))
    with writing(database_url) as writer:
        writer.write(message(make_source(captured=2), [large, make_event()]))

    assert query(database_url, "SELECT sum(executions) FROM metrics") == [(1,)]
    assert query(database_url, "SELECT count(*) FROM metrics_rejected") == [(1,)]
    check_rollups(database_url)


def test_a_long_reader_does_not_hold_up_the_writer(database_url: str) -> None:
    with connected(database_url) as reader:
        dropped = reader.execute(sa.text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'metrics_p%'")).scalars()
        for name in list(dropped)[:1]:
            reader.execute(sa.text(f"DROP TABLE {name}"))  # a partition is due
    with connected(database_url) as reader:
        reader.execute(sa.text("SELECT count(*) FROM metrics"))
        with writing(database_url) as writer:
            writer.write(message(make_source(captured=1), [make_event()]))

    assert query(database_url, "SELECT sum(executions) FROM metrics") == [(1,)]


def test_writers_side_by_side_neither_wait_in_a_circle_nor_count_twice(database_url: str) -> None:
    sent = [make_event(job_id=f"job-{number % 7}", task_name=f"task-{number % 3}") for number in range(400)]
    source = make_source(captured=400)
    batches = [message(source, sent[first::8]) for first in range(8)]
    faults: list[BaseException] = []

    def write(order: list[str]) -> None:
        try:
            with writing(database_url) as writer:
                for batch in order:
                    writer.write(batch)
        except BaseException as error:
            faults.append(error)

    threads = [
        threading.Thread(target=write, args=(order,)) for order in (batches, batches[::-1], batches[4:] + batches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults
    assert query(database_url, "SELECT sum(executions) FROM metrics") == [(400,)]
    check_rollups(database_url)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_counters_only_grow_in_whatever_order_they_come(database_url: str, order: tuple[int, int]) -> None:
    early = make_source(captured=1)
    late = Source(source_id=early.source_id, host="host", pid=1, captured=5, dropped={"outbox_full": 3})
    batches = [message(early, [make_event()]), message(late, [make_event()])]
    with writing(database_url) as writer:
        for number in order:
            writer.write(batches[number])

    assert query(database_url, "SELECT captured, written, dropped FROM metrics_sources") == [(5, 2, {"outbox_full": 3})]


def test_two_runs_under_one_id_are_two_executions(database_url: str) -> None:
    """As when a child dies at once and Celery's pool hands the same request to another one."""
    died = make_event(status="lost", error_type="WorkerLostError")
    succeeded = msgspec.structs.replace(died, status="success", error_type=None, ended_at_us=died.ended_at_us + 1)
    first, second = make_source(captured=1), make_source(captured=1)
    writer = Writer(database_url, pricing_of)
    for _ in range(2):
        batch = encode_batch([(first, [encode(died)]), (second, [encode(succeeded)])]).decode()
        writer.write(batch)
    writer.close()

    with connected(database_url) as connection:
        found = connection.execute(sa.text("SELECT status, executions FROM metrics ORDER BY status")).all()
        books = read_books(connection)
    assert [tuple(row) for row in found] == [("lost", 1), ("success", 1)]
    assert (books.written, books.duplicates, books.pending) == (2, 2, 0)


def test_a_connection_that_was_closed_meanwhile_is_not_an_outage(each_database_url: str) -> None:
    with writing(each_database_url) as writer:
        for _ in range(3):
            writer.write(message(make_source(captured=1), [make_event()]))
            query(
                each_database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database()",
            )
        writer.write(message(make_source(captured=1), [make_event()]))

    assert query(each_database_url, "SELECT sum(executions) FROM metrics") == [(4,)]


def test_ten_writers_with_the_same_jobs_in_any_order_do_not_wait_in_a_circle(each_database_url: str) -> None:
    rng = random.Random(1)
    sent = [
        make_event(
            job_id=f"job-{rng.randrange(9)}",
            task_name=f"task-{rng.randrange(5)}",
            latency_us=rng.randrange(10**7),
            calls=tuple(
                ModelCall(usage=Usage(total_tokens=rng.randrange(1_000)), model=f"model-{rng.randrange(7)}")
                for _ in range(rng.randrange(3))
            ),
        )
        for _ in range(1_500)
    ]
    source = make_source(captured=len(sent))
    batches = [message(source, sent[first::60]) for first in range(60)]
    faults: list[BaseException] = []

    def write(order: list[str]) -> None:
        try:
            with writing(each_database_url) as writer:
                for batch in order:
                    writer.write(batch)
        except BaseException as error:
            faults.append(error)

    orders = [rng.sample(batches, 24) for _ in range(9)] + [rng.sample(batches, len(batches))]
    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults
    assert query(each_database_url, "SELECT sum(executions) FROM metrics") == [(len(sent),)]
    assert query(each_database_url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [
        (0,)
    ]
    check_rollups(each_database_url)
