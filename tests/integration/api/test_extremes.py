"""Whatever a query, a path or a cursor holds, it is answered or refused, and is never a fault of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from aurea_api import create_app, cursors
from aurea_api.blueprint import CALLS
from aurea_api.calls import Call
from aurea_celery.storage.job_list import JobSort, Place
from tests.support.api import METRIC, post, read_json
from tests.support.databases import Databases

JOBS = 3
ANSWERED = {200, 400, 404, 410}
SORTS: tuple[JobSort, ...] = ("last_updated", "cost", "tasks")
hostile = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

NUMBERS = ["0", "-1", "+1", " 1", "1 ", "1_0", "0x1", "1e3", "1e999999", "NaN", "Infinity", "9" * 16, "9" * 400]
NUMBERS += ["9007199254740991", "9007199254740992", "9223372036854775808", "\u0663", "\uff11", "\u00b2", "\u2167"]
TIMES = ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]
TIMES += ["9999-12-31T23:59:59.999999Z", "9998-12-31T23:59:59.999999-23:59", "9998-12-31T23:59:59.999999Z"]
TIMES += ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "2024-02-30T00:00:00Z"]
TIMES += ["2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+99:99"]
TIMES += ["\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "99999w", "99999m", "0d", "1D", "7 d", "-7d", "1000000w"]
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ufffd",
    "\U0010ffff",
    "%",
    "_",
    "\\",
    "'",
    '"',
    "a" * 255,
    "\U0001f418" * 255,
    "a" * 9000,
]
TEXTS += [
    "a:b",
    ":",
    "a:",
    ":b",
    "a:\0",
    "\0:b",
    "a" * 300 + ":b",
    "../../etc/passwd",
    "/etc/localtime",
    "UTC\0",
    "utc",
]
TEXTS += ["Pacific/Kiritimati", "America/St_Johns", "posixrules", "localtime", "Factory", "[]", "{}", "null"]
RAW = ["%ff", "%00", "%c0%80", "%ed%a0%80", "%", "%zz", "+", "&", "=", ";", "%0d%0aX: y"]
VALUES = [quote(value, safe="") for value in (*NUMBERS, *TIMES, *TEXTS)] + RAW


@pytest.fixture(scope="module")
def client(databases: Databases) -> Iterator[FlaskClient]:
    with databases.migrated() as url:
        client = create_app(url).test_client()
        for number in range(JOBS):
            post(client, METRIC | {"job_id": f"job-{number}"})
        yield client


def faults(client: FlaskClient, addresses: Iterator[str] | list[str]) -> dict[str, int]:
    """Those that are neither answered nor refused, with their status."""
    statuses = {address: client.get(address).status_code for address in addresses}
    return {address: status for address, status in statuses.items() if status not in ANSWERED}


def addresses_with(path: str, query: type[Struct]) -> Iterator[str]:
    """Each parameter with each value, and what else the call must have; each twice, too."""
    for name, value in product(query.__struct_fields__, VALUES):
        rest = "" if name == "measure" or "measure" not in query.__struct_fields__ else "&measure=cost"
        yield f"{path}?{name}={value}{rest}"
    for name in query.__struct_fields__:
        yield f"{path}?{name}=1&{name}=1"


ALIKE = {"export_csv", "export_parquet", "model_totals"}
"""Calls that take and use the same parameters as another one."""


@pytest.mark.parametrize(
    "call", [one for one in CALLS if one.method == "GET" and one.name not in ALIKE], ids=lambda one: one.name
)
def test_extreme_parameters(client: FlaskClient, call: Call) -> None:
    path = call.path.replace("{job_id}", "job-1")
    extra = [f"{path}?{value}=1" for value in VALUES if value] + [f"{path}?{raw}" for raw in RAW]

    assert faults(client, [*addresses_with(path, call.query), *extra]) == {}


@pytest.mark.parametrize("interval", ["15m", "1h", "1d"])
def test_extreme_times(client: FlaskClient, interval: str) -> None:
    times = [quote(time) for time in ("1970-01-01T00:00:00Z", "9998-12-31T23:59:59Z", "99999w", "1m")]
    pairs = [f"since={one}&until={other}" for one, other in product(times, times)]
    series = [
        f"/metrics/timeseries?measure=cost&interval={interval}&tz={zone}&{pair}"
        for zone, pair in product(("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Monrovia"), pairs)
    ]

    assert faults(client, series + [f"/metrics/summary?{pair}" for pair in pairs]) == {}


def test_extreme_paths(client: FlaskClient) -> None:
    ids = [*VALUES, ".", "..", "%2e%2e", "%2F", "/", "//", "%252F", "a%2Fdetails", "%00/details", "%ff/tree", "a/%00"]
    parts = ("", "/", "/details", "/tree", "/nothing", "/%00")

    assert faults(client, [f"/metrics/jobs/{job}{part}" for job, part in product(ids, parts)]) == {}


def encoded(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


WRONG_VALUES = [
    *(
        "1e999999",
        "-1e999999",
        "1e-999999",
        "1E+131072",
        "NaN",
        "sNaN",
        "-Infinity",
        "",
        " ",
        "1_0",
        "\uff11",
        "9" * 200,
    ),
    *("9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T24:00:00+00:00", "2026-01-01"),
    *("2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00:00.000001", "2026-W01-1T00:00:00+00:00", "infinity", "epoch"),
    *("20260101T000000Z", "2026-01-01 00:00:00+00:00", "-1", "+1", "0x1", "01", "1e3", "\0", "'"),
]


@pytest.mark.parametrize("value", WRONG_VALUES)
@pytest.mark.parametrize("sort", SORTS)
def test_a_forged_cursor_is_refused(client: FlaskClient, sort: JobSort, value: str) -> None:
    answer = client.get("/metrics/jobs", query_string={"sort": sort, "cursor": encoded(sort, value, "job-1")})

    assert answer.status_code == 400
    assert "cursor must be the next_cursor" in answer.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WRONG_VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
)


@hostile
@given(sort=st.sampled_from(SORTS), cursor=st.lists(JSON_VALUES, max_size=4).map(lambda parts: encoded(*parts)))
@example(sort="cost", cursor=encoded("cost", "1", "\ud800"))
@example(sort="cost", cursor=encoded("cost", "1", "a\0"))
def test_a_cursor_of_anything_is_answered_or_refused(client: FlaskClient, sort: JobSort, cursor: str) -> None:
    answer = client.get("/metrics/jobs", query_string={"sort": sort, "cursor": cursor})

    assert answer.status_code in (200, 400)


@hostile
@given(sort=st.sampled_from(SORTS), cursor=st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_a_cursor_that_is_any_text_is_answered_or_refused(client: FlaskClient, sort: JobSort, cursor: str) -> None:
    answer = client.get("/metrics/jobs", query_string={"sort": sort, "cursor": cursor})

    assert answer.status_code in (200, 400)


JOB_IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255)
PLACES = st.one_of(
    st.tuples(
        st.just("last_updated"), st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
    ),
    st.tuples(st.just("cost"), st.decimals(0, Decimal(10) ** 30, places=18).map(lambda usd: usd.normalize())),
    st.tuples(st.just("tasks"), st.integers(0, 2**63 - 1)),
)


@hostile
@given(place=PLACES, job_id=JOB_IDS)
@example(place=("cost", Decimal("1E-400")), job_id="\x01" * 255)
@example(place=("tasks", 0), job_id="\U0001f418" * 255)
def test_every_cursor_of_ours_is_read_as_it_was_written(
    client: FlaskClient, place: tuple[JobSort, Any], job_id: str
) -> None:
    sort, value = place
    cursor = cursors.write(Place(value, job_id), sort)

    assert cursors.read(cursor, sort) == Place(value, job_id)
    answer = client.get("/metrics/jobs", query_string={"sort": sort, "cursor": cursor})
    assert answer.status_code == 200
    assert len(read_json(answer.data)["jobs"]) <= JOBS
