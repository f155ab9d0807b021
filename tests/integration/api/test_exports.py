"""All rows as a file: exact, of one moment, in bounded memory, and never cut without a sign."""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB

from aurea_api import create_app
from aurea_celery.clock import new_event_id, to_us
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.storage import export
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.export import NAMES, PIECE_ROWS, read_pieces
from aurea_celery.storage.formats import FORMULA
from aurea_celery.storage.schema import metrics
from aurea_celery.storage.selection import Selection
from tests.support.api import METRIC, get, post, read_json
from tests.support.databases import connected, scalar
from tests.support.events import events
from tests.support.many_rows import make_rows
from tests.support.parquet import read_parquet
from tests.support.processes import Process, Serve
from tests.support.recorded import execution, write
from tests.support.servers import wait_until

pytestmark = pytest.mark.clock("47-days")

MANY = 300_000
MOST_GROWTH_KIB = 40 * 1024
EXPORTING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'FETCH%'"
    " AND xact_start IS NOT NULL"
)


def jsonl(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/metrics/export.jsonl{query}")
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson")
    return [read_json(line) for line in answer.data.splitlines()]


def csv_rows(client: FlaskClient, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/metrics/export.csv{query}")
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    return list(csv.DictReader(io.StringIO(answer.data.decode(), newline="")))


def parquet(client: FlaskClient) -> list[dict[str, Any]]:
    answer = client.get("/metrics/export.parquet")
    assert (answer.status_code, answer.mimetype) == (200, "application/vnd.apache.parquet")
    return read_parquet(answer.data)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(events(), min_size=1, max_size=8))
def test_every_format_holds_every_value_of_every_row(
    client: FlaskClient, database_url: str, written: list[Any]
) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("TRUNCATE metrics"))
    write(database_url, *written)
    with connected(database_url) as connection:
        rows = connection.execute(sa.select(metrics).order_by("created_at", "event_id", "seq")).mappings().all()

    lines, cells, values = jsonl(client), csv_rows(client), parquet(client)

    assert [list(line) for line in lines] == [list(NAMES)] * len(rows)
    assert len(cells) == len(values) == len(rows)
    for row, line, cell, value in zip(rows, lines, cells, values, strict=True):
        for name in NAMES:
            assert from_json(name, line[name]) == row[name]
            assert from_cell(name, cell[name]) == harmless(row[name])
            assert from_parquet(name, value[name]) == (rounded(row[name]))


def kind_of(name: str) -> type[Any]:
    kind = metrics.c[name].type
    return dict if isinstance(kind, JSONB) else kind.python_type


def from_json(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if value is not None and kind_of(name) is datetime else as_uuid(name, value)


def as_uuid(name: str, value: Any) -> Any:
    return kind_of(name)(value) if value is not None and name.endswith("event_id") else value


def from_cell(name: str, text: str) -> Any:
    if not text and metrics.c[name].nullable:
        return None
    if kind_of(name) in (dict, bool):
        return read_json(text)
    if kind_of(name) is datetime:
        return datetime.fromisoformat(text)
    return kind_of(name)(text)


def harmless(value: Any) -> Any:
    return FORMULA.sub("'", value) if isinstance(value, str) else value


def from_parquet(name: str, value: Any) -> Any:
    return read_json(value) if value is not None and kind_of(name) is dict else as_uuid(name, value)


def rounded(value: Any) -> Any:
    return round(value, 18) if isinstance(value, Decimal) else value


def test_the_rows_are_those_of_the_other_calls(client: FlaskClient) -> None:
    created = [post(client, METRIC | {"created_at": f"2026-11-2{day}T09:00:00Z"}).body["metric"] for day in (3, 1, 2)]

    assert jsonl(client) == sorted(created, key=lambda one: str(one["created_at"]))


def test_a_small_cost_is_written_out(client: FlaskClient) -> None:
    post(client, METRIC | {"cost_estimate": 1e-12, "latency_ms": 1000})

    (row,) = csv_rows(client)
    assert (row["cost_estimate"], row["latency_ms"]) == ("0.000000000001", "1000")


FORMULAS = ['=HYPERLINK("http://x")', "+1", "-1", "@x", "\t=1", "\r", "\n", "\t", "\n=1", "=", "-"]
FORMULAS += ["\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\ufe661", "\ufe621", "\ufe631", "\ufe6bx", "\u22121"]
FORMULAS += [" =1", "  @x", "\u00a0=1", "\u3000=1", "\ufeff=1", "\u200b-1", "\x01=1", "\x1f=1", "\x0b+1", "\u2028=1"]
HARMLESS = [
    'a"b',
    "a,b",
    "a\r\nb",
    "'=1",
    "a=1",
    "a-b",
    "1-1",
    "a;b",
    "a\tb",
    '"=1"',
    "team: -x",
    "\u00b1",
    "*",
    "/",
    "100%",
]
IN_A_TEXT = {
    "a;=1": "a;'=1",
    "a; -1": "a;' -1",
    "a\t+1": "a\t'+1",
    "a\n@x": "a\n'@x",
    "a\r\n=1": "a\r\n'=1",
    ";=1": ";'=1",
}


def test_a_text_that_a_spreadsheet_would_run_is_not_one(client: FlaskClient) -> None:
    names = [*FORMULAS, *HARMLESS, *IN_A_TEXT]
    for name in names:
        post(client, METRIC | {"job_id": name, "task_name": name, "tags": {"a": name}})

    rows = csv_rows(client)

    expected = [f"'{name}" for name in FORMULAS] + HARMLESS + list(IN_A_TEXT.values())
    assert [row["job_id"] for row in rows] == [row["task_name"] for row in rows] == expected
    assert [read_json(row["tags"]) for row in rows] == [{"a": name} for name in names]
    assert not any(";" in row["tags"] for row in rows)
    assert [row["job_id"] for row in jsonl(client)] == names


def test_without_rows_there_is_a_header(client: FlaskClient) -> None:
    answer = client.get("/metrics/export.csv")

    assert answer.data.decode() == ",".join(NAMES) + "\r\n"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="metrics.csv"'
    assert (jsonl(client), parquet(client)) == ([], [])


ROWS = [
    {"job_id": job, "task_name": task, "model_used": model, "status": status, "tags": tags}
    for job, task, model, status, tags in [
        ("a", "x", "gpt-4", "success", {"team": "search", "region": "eu"}),
        ("a", "y", "gpt-4", "failure", {"team": "search"}),
        ("b", "x", "o3", "success", {"team": "ads", "note": "a:b"}),
        ("b", "y", "o3", "lost", {}),
    ]
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("job=a", [0, 1]),
        ("job=a&job=b", [0, 1, 2, 3]),
        ("job=a&task=y", [1]),
        ("model=o3", [2, 3]),
        ("provider=openai", [2]),
        ("status=failure&status=lost", [1, 3]),
        ("tag=team:search", [0, 1]),
        ("tag=team:search&tag=region:eu", [0]),
        ("tag=team:search&tag=region:us", []),
        ("tag=note:a:b", [2]),
        ("since=2026-11-21T00:00:01Z", [1, 2, 3]),
        ("until=2026-11-21T02:00:02%2B02:00", [0, 1]),
        ("since=2026-11-21T00:00:01Z&until=2026-11-21T00:00:03Z&job=b", [2]),
        ("job=%27%20OR%201=1--", []),
    ],
)
def test_filters(client: FlaskClient, query: str, found: list[int]) -> None:
    for number, row in enumerate(ROWS):
        provider = {"provider_name": "openai"} if number == 2 else {}
        post(client, METRIC | row | provider | {"created_at": f"2026-11-21T00:00:0{number}Z", "token_count": number})

    assert [row["token_count"] for row in jsonl(client, f"?{query}")] == found
    assert [int(row["token_count"]) for row in csv_rows(client, f"?{query}")] == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "since must be a time with zone such as 2026-11-24T09:00:00Z"),
        ("until=2026-11-24T09:15:02", "until must be a time with zone such as 2026-11-24T09:00:00Z"),
        ("status=done", "status must be one of success, "),
        ("tag=team", "tag must be written NAME:VALUE"),
        ("job=%00", "job must be a text of at most "),
        ("jobs=a", "Unknown parameter: 'jobs'; this call takes since, until, job, task, provider, model, status, tag"),
    ],
)
def test_a_wrong_filter_is_refused(client: FlaskClient, query: str, said: str) -> None:
    answer = get(client, f"/metrics/export.csv?{query}")

    assert (answer.status, answer.body["error"][: len(said)]) == (400, said)


def test_without_pyarrow_it_says_what_to_do(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    answer = get(client, "/metrics/export.parquet")

    assert answer.status == 501
    assert "pip install pyarrow" in answer.body["error"]


def test_an_error_before_the_first_row_is_an_answer() -> None:
    client = create_app("postgresql://nobody@127.0.0.1:9/nothing").test_client()

    for kind in ("csv", "jsonl", "parquet"):
        assert get(client, f"/metrics/export.{kind}").status == 503


def test_an_export_is_of_one_moment(client: FlaskClient, database_url: str) -> None:
    make_rows(database_url, 3 * PIECE_ROWS)
    answer = client.get("/metrics/export.jsonl", buffered=False)
    pieces = answer.iter_encoded()
    first = next(pieces)

    write(
        database_url, execution(), execution("early", ended_at_us=to_us(datetime.fromisoformat("2026-01-01T00:40:00Z")))
    )
    rest = b"".join(pieces)

    assert len((first + rest).splitlines()) == 3 * PIECE_ROWS
    assert scalar(database_url, "SELECT count(*) FROM metrics") == 3 * PIECE_ROWS + 2


@pytest.fixture(scope="module")
def many_rows_url(databases: Any) -> Iterator[str]:
    """A database with 300,000 rows."""
    with databases.migrated() as url:
        make_rows(url, MANY)
        yield url


@pytest.fixture
def many_rows(serve: Serve, many_rows_url: str, port: int) -> Process:
    """The API on it, in one process."""
    process = serve("aurea_api", DATABASE_URL=many_rows_url, PORT=str(port))
    process.wait_for(f"http://127.0.0.1:{port}")
    wait_until(lambda: len(process.children()) == 2, "two workers")
    return process


def peak_kib(pid: int) -> int:
    """The most memory that a process has used."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@contextlib.contextmanager
def exporting(port: int, kind: str = "csv") -> Iterator[http.client.HTTPResponse]:
    """An export that has begun."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", f"/metrics/export.{kind}")
        with connection.getresponse() as answer:
            yield answer


def test_memory_is_bounded_however_many_rows_there_are(many_rows: Process, port: int) -> None:
    before = {pid: peak_kib(pid) for pid in many_rows.children()}

    lines = size = 0
    with exporting(port) as answer:
        while part := answer.read(1 << 20):
            lines, size = lines + part.count(b"\n"), size + len(part)

    assert lines == MANY + 1
    assert size > MOST_GROWTH_KIB * 1024
    assert max(peak_kib(pid) - before[pid] for pid in many_rows.children()) < MOST_GROWTH_KIB


def test_a_client_that_goes_away_ends_the_query(many_rows: Process, port: int, many_rows_url: str) -> None:
    with exporting(port) as answer:
        answer.read(1 << 16)
        assert scalar(many_rows_url, EXPORTING) == 1

    wait_until(lambda: scalar(many_rows_url, EXPORTING) == 0, "the end of the query")
    assert many_rows.status is None


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_error_in_the_middle_is_no_clean_end(many_rows: Process, port: int, many_rows_url: str, kind: str) -> None:
    with exporting(port, kind) as answer:
        answer.read(1 << 16)
        with connected(many_rows_url) as connection:
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'FETCH%'")
            )
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    assert many_rows.status is None


def test_more_exports_than_a_process_makes_at_a_time_are_refused(client: FlaskClient, database_url: str) -> None:
    make_rows(database_url, 2 * PIECE_ROWS)
    first, second = (client.get("/metrics/export.csv", buffered=False) for _ in range(2))

    refused, other = get(client, "/metrics/export.csv"), get(client, "/metrics/jobs")
    first.close()

    assert (refused.status, refused.body["error"]) == (503, "all connections to the database are busy; try again later")
    assert other.status == 200
    assert len(csv_rows(client)) == 2 * PIECE_ROWS
    second.close()


def test_who_asks_only_for_the_head_leaves_nothing_open(client: FlaskClient, database_url: str) -> None:
    make_rows(database_url, 2 * PIECE_ROWS)

    for _ in range(3):
        assert client.head("/metrics/export.csv").status_code == 200

    assert len(csv_rows(client)) == 2 * PIECE_ROWS


def test_the_limit_of_other_statements_is_not_that_of_an_export(database_url: str) -> None:
    make_rows(database_url, 2 * PIECE_ROWS)
    engine = create_engine(database_url)

    with engine.connect() as connection:
        pieces = read_pieces(connection, Selection())
        next(pieces)
        limit = connection.scalar(sa.text("SHOW statement_timeout"))
        assert (limit, sum(map(len, pieces))) == ("0", PIECE_ROWS)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW statement_timeout")) == "1min"
    engine.dispose()


def test_a_client_that_takes_nothing_for_long_is_cut_off(
    client: FlaskClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rows(database_url, 2 * PIECE_ROWS)
    monkeypatch.setattr(export, "MOST_IDLE_SECONDS", 1)
    answer = client.get("/metrics/export.csv", buffered=False)

    wait_until(lambda: scalar(database_url, EXPORTING) == 0, "the end of the session")
    with pytest.raises(DatabaseUnavailable):
        list(answer.iter_encoded())
    answer.close()


def test_every_release_of_postgres_has_all_of_it(each_database_url: str) -> None:
    client = create_app(each_database_url).test_client()
    metric = METRIC | {"event_id": new_event_id(), "tags": {"team": "search"}}
    client.post("/metrics/batch", json={"metrics": [metric]})
    client.post("/metrics/batch", json={"metrics": [metric]})

    assert len(csv_rows(client, "?tag=team:search&provider=openai&job=job_123")) == 0
    assert len(jsonl(client, "?tag=team:search&status=success")) == len(parquet(client)) == 1
    assert b'aurea_executions_total{status="success",task="text_generation"} 1.0' in client.get("/prometheus").data
