"""``aurea report`` of some of the executions: its sums are those of the rows it is about, whatever it is by."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from aurea_celery.cli import aurea
from aurea_celery.commands.report import BY
from tests.support.databases import connected
from tests.support.recorded import execution, model_call, without_call, write

MORNING_US = 1_764_580_030_000_000  # 2025-12-01T09:07:10Z
HOUR_US = 3_600 * 1_000_000
CONDITIONS = {
    "--task t1": "task_name = 't1'",
    "--task t0 --task t1": "task_name IN ('t0', 't1')",
    "--model gpt-4": "model_used = 'gpt-4'",
    "--provider openai": "provider_name = 'openai'",
    "--status failure": "status = 'failure'",
    "--status failure --status retry": "status IN ('failure', 'retry')",
    "--tag team:a": 'tags @> \'{"team": "a"}\'',
    "--tag team:a --tag region:eu": 'tags @> \'{"team": "a", "region": "eu"}\'',
    "--since 2025-12-01T10:00": "created_at >= '2025-12-01T10:00Z'",
    "--until 2025-12-01T11:00": "created_at < '2025-12-01T11:00Z'",
    "--job job1": "job_id = 'job1'",
}
NAMES = {"job": "job_id", "task": "task_name", "model": "model_used", "status": "status"}
NAMES["error"] = "coalesce(error_type, 'none')"


def report(url: str, *options: str) -> Result:
    return CliRunner(env={"DATABASE_URL": url}).invoke(aurea, ["report", *options])


@pytest.fixture
def filled(database_url: str) -> str:
    statuses = (("success", None), ("failure", "TimeoutError"), ("retry", "RateLimit"), ("failure", "Refused"))
    events = []
    for number, (status, error) in enumerate(statuses * 6):
        call = model_call("gpt-4" if number % 3 else "house", 100 + number, cost_usd="0.5" if number % 3 else None)
        event = execution(
            f"job{number % 2}", f"t{number % 3}", call, ended_at_us=MORNING_US + number % 4 * HOUR_US, latency_ms=number
        )
        tags = {"team": "ab"[number % 2], "region": "eu" if number % 4 else "us"}
        events.append(msgspec.structs.replace(event, status=status, error_type=error, tags=tags))
    write(database_url, *events, without_call(events[0]))
    return database_url


def is_possible(options: str) -> bool:
    return not ("--job" in options and ("--since" in options or "--until" in options))


PAIRS = [one for one in itertools.combinations(CONDITIONS, 2) if one[0].split()[0] != one[1].split()[0]]
QUESTIONS = [*((one,) for one in CONDITIONS), *PAIRS]


def test_the_sums_are_those_of_the_rows(filled: str) -> None:
    for by, parts in itertools.product(BY, QUESTIONS):
        options = " ".join(parts)
        if not is_possible(options):
            continue
        ended = report(filled, *options.split(), "--by", by, "--json", "--limit", "1000")
        assert ended.exit_code == 0, ended.output
        found = json.loads(ended.output, parse_float=Decimal)
        where = " AND ".join(CONDITIONS[part] for part in parts)
        assert sums_of_lines(found) == sums_of_rows(filled, by, where), f"--by {by} {options}"
        assert found["spent"]["count"] == sum(executions(filled, where).values())


def sums_of_lines(found: dict[str, Any]) -> dict[str, tuple[int, Decimal]]:
    return {
        line["name"]: (line["spent"]["total_tokens"], Decimal(line["spent"]["total_cost"])) for line in found["lines"]
    }


def sums_of_rows(url: str, by: str, where: str) -> dict[str, tuple[int, Decimal]]:
    query = f"SELECT {NAMES[by]}, sum(token_count), sum(cost_estimate) FROM metrics WHERE {where} GROUP BY 1"
    with connected(url) as connection:
        return {name: (int(tokens), cost) for name, tokens, cost in connection.execute(sa.text(query))}


def executions(url: str, where: str) -> dict[str, int]:
    with connected(url) as connection:
        rows = connection.execute(sa.text(f"SELECT event_id, sum(executions) FROM metrics WHERE {where} GROUP BY 1"))
        found: dict[str, int] = defaultdict(int, {str(event): int(count) for event, count in rows})
    return found


def test_the_sentence_says_which_executions(filled: str) -> None:
    options = ("--task", "t0", "--task", "t1", "--status", "failure", "--tag", "team:b", "--until", "2025-12-01T11:00")
    line = report(filled, *options).output.splitlines()[0]

    assert (
        " executions of task t0 or t1 with status failure with tag team:b since 2025-12-01 10:07 UTC"
        " until 2025-12-01 11:00 UTC, "
    ) in line
    assert report(filled, "--task", "nothing", "--since", "2025-12-01").output == (
        "No executions of task nothing since 2025-12-01 00:00 UTC.\n"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--job", "a", "--until", "7d"), "--job and --until cannot be combined"),
        (("--task", "a\udcff"), "is not valid UTF-8"),
        (("--job", "a\udcff"), "is not valid UTF-8"),
        (("--tag", "a:\udcff"), "is not valid UTF-8"),
        (("--tag", "team"), "'team' is not NAME:VALUE"),
        (("--until", "0001-01-01T00:00:00+14:00"), "is before the calendar begins"),
        (("--since", "0001-01-01"), "is not in the years 1970 to 9998"),
        (("--since", "9999-12-31T23:59:59-14:00"), "is before the calendar begins"),
        (("--since", "\u0667d"), "is neither a day"),
    ],
)
def test_what_cannot_be_asked_is_refused(filled: str, options: tuple[str, ...], sentence: str) -> None:
    ended = report(filled, *options)

    assert (ended.exit_code, sentence in ended.output) == (2, True), ended.output
