"""Every text is written and read, whatever the encoding of the database and of the environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from aurea_api import create_app
from aurea_celery.events import TaskEvent, encode, encode_batch
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.database import create_engine
from aurea_celery.storage.queries import rollup_differences
from aurea_celery.storage.write import Writer
from tests.support.api import METRIC, get, path_of, post
from tests.support.databases import Databases, connected
from tests.support.events import make_source
from tests.support.recorded import execution, write

NAIVE, EMOJI, KANJI = "naïve", "crème \N{GRINNING FACE}", "\N{CJK UNIFIED IDEOGRAPH-65E5}"
TEXTS = (NAIVE, EMOJI, KANJI)
AS_REFERENCES = {
    "UTF8": TEXTS,
    "SQL_ASCII": TEXTS,
    "LATIN1": (NAIVE, "crème &#128512;", "&#26085;"),
    "EUC_JP": ("na&#239;ve", "cr&#232;me &#128512;", "&#26085;"),
}


@pytest.fixture(params=[("UTF8", "LATIN1"), ("LATIN1", None), ("SQL_ASCII", "LATIN1"), ("EUC_JP", None)], ids=str)
def encoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database's encoding; the environment may name another one for the client."""
    of_database, of_client = request.param
    if of_client:
        monkeypatch.setenv("PGCLIENTENCODING", of_client)
    return str(of_database)


@pytest.fixture
def url(encoding: str, databases: Databases) -> Iterator[str]:
    with databases.encoded(encoding) as made:
        yield made


@pytest.fixture
def client(url: str) -> FlaskClient:
    return create_app(url).test_client()


def with_text(text: str, **more: Any) -> TaskEvent:
    """An execution of a job of that name."""
    return msgspec.structs.replace(execution(job_id=text), **more)


def ours(url: str, statement: str) -> list[Any]:
    """The rows of a query, as our own connections read them."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = list(connection.execute(sa.text(statement)))
    engine.dispose()
    return rows


def test_a_text_is_stored_as_it_is_or_with_references(client: FlaskClient, url: str, encoding: str) -> None:
    write(url, *(with_text(text, tags={text: text}, worker=text, error_type=text) for text in TEXTS))

    expected = sorted(AS_REFERENCES[encoding])
    rows = ours(url, "SELECT job_id, tags, worker, error_type FROM metrics")
    assert sorted(row.job_id for row in rows) == expected
    assert all(row.tags == {row.job_id: row.job_id} and row.worker == row.error_type == row.job_id for row in rows)
    assert sorted(job["job_id"] for job in get(client, "/metrics/jobs").body["jobs"]) == expected
    assert {get(client, path_of(text)).status for text in TEXTS} == {200}, "each is found by the name that users know"
    with connected(url) as connection:
        assert rollup_differences(connection) == {}


def test_what_is_posted_is_stored_and_found(client: FlaskClient, encoding: str) -> None:
    for text in TEXTS:
        assert post(client, {**METRIC, "job_id": text, "tags": {"team": text}}).status == 201

    jobs = get(client, "/metrics/jobs").body["jobs"]
    assert sorted(job["job_id"] for job in jobs) == sorted(AS_REFERENCES[encoding])


def test_what_cannot_be_written_is_kept_with_its_text(url: str, encoding: str) -> None:
    writer = Writer(url, pricing_of)
    bad, good = with_text(EMOJI, worker="a\0b"), execution()
    writer.write(encode_batch([(make_source(captured=2, host=EMOJI), [encode(bad), encode(good)])]).decode())
    writer.write(f'{{"v":1,"broken {EMOJI} \N{CJK UNIFIED IDEOGRAPH-65E5}')
    writer.close()

    event, other = ours(url, "SELECT payload FROM metrics_rejected ORDER BY id")
    stored = AS_REFERENCES[encoding][1]
    assert msgspec.json.decode(event.payload)["job_id"] == stored
    assert other.payload == f'{{"v":1,"broken {stored} {AS_REFERENCES[encoding][2]}'
    books = ours(url, "SELECT captured, written, rejected, host FROM metrics_sources")
    assert [tuple(row) for row in books] == [(2, 1, 1, stored)]


def test_bytes_that_are_no_text_are_read(databases: Databases) -> None:
    with databases.encoded("SQL_ASCII") as url:
        write(url, execution(job_id="plain"), with_text(NAIVE, tags={"a": NAIVE}))
        with connected(url) as connection:
            connection.execute(sa.text("SET client_encoding = 'SQL_ASCII'"))
            for table in ("metrics", "metrics_jobs", "metrics_job"):
                connection.execute(sa.text(rf"UPDATE {table} SET job_id = E'na\xefve' WHERE job_id <> 'plain'"))
        client = create_app(url).test_client()
        answer = get(client, "/metrics/jobs")

    assert answer.status == 200
    assert sorted(job["job_id"] for job in answer.body["jobs"]) == ["na\N{REPLACEMENT CHARACTER}ve", "plain"]
    assert json.dumps(answer.body, default=str)


def test_a_url_may_not_choose_another_encoding(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    write(f"{database_url}{separator}client_encoding=LATIN1", execution(job_id=NAIVE))

    assert [row.job_id for row in ours(database_url, "SELECT job_id FROM metrics")] == [NAIVE]
