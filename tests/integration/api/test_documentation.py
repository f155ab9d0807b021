"""The examples of docs/api.md and docs/analysis.md are answered as documented, in their order on a fresh database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from aurea_api.blueprint import CALLS
from aurea_api.description import OPENAPI
from aurea_api.description import PAGE as DOCS_PAGE
from aurea_api.filters import Filters
from aurea_api.metric_fields import FIELDS
from aurea_celery.storage.schema import metrics
from tests.support.api import read_json

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "api.md").read_text() + (DOCS / "analysis.md").read_text()
EXAMPLE = re.compile(
    r"```http\n(?P<method>\w+) (?P<path>\S+)\n(?P<rest>.*?)```"
    r".*?```(?P<kind>json|csv|jsonl|prometheus)\n(?P<answer>.*?)```",
    re.DOTALL,
)
CHANGING = {"event_id", "created_at", "started_at", "first_updated", "last_updated", "version"}
CHANGING |= {"id", "since", "until", "times", "values", "ended_at", "next_cursor"}
CHANGING |= {"tasks_per_hour", "cost_per_hour"}
CHANGING |= {"edition", "age_days"}  # of the list prices that are installed, as old as they are today


def ask(client: FlaskClient, example: re.Match[str]) -> Any:
    """What is answered: a value, or where that is not JSON, its text."""
    headers, _, body = example["rest"].partition("\n\n")
    fields = dict(line.split(": ") for line in headers.splitlines())
    answer = client.open(example["path"], method=example["method"], headers=fields, data=body).data
    return read_json(answer) if example["kind"] == "json" else answer.decode()


def check_text(answer: str, documented: str) -> None:
    """Each line that is documented is there, in this order; three dots stand for anything."""
    remaining = iter(answer.splitlines())
    for line in documented.splitlines():
        pattern = re.escape(line).replace(re.escape("..."), ".*")
        assert any(re.fullmatch(pattern, one) for one in remaining), line


def shown(answer: Any, documented: Any) -> Any:
    """The part of an answer that the documentation shows, with its values where they change from call to call."""
    if isinstance(documented, dict):
        return {
            name: value if name in CHANGING and name in answer else shown(answer[name], value)
            for name, value in documented.items()
        }
    if isinstance(documented, list):
        assert len(answer) == len(documented)
        return [shown(one, value) for one, value in zip(answer, documented, strict=True)]
    return answer


def test_the_documented_examples_are_answered_as_documented(client: FlaskClient) -> None:
    examples = list(EXAMPLE.finditer(PAGE))

    assert len(examples) == PAGE.count("```http")
    for example in examples:
        answer = ask(client, example)
        if isinstance(answer, str):
            check_text(answer, example["answer"])
        else:
            documented = read_json(example["answer"])
            assert shown(answer, documented) == documented


def test_every_key_of_an_answer_is_documented(client: FlaskClient) -> None:
    for example in EXAMPLE.finditer(PAGE):
        missing = {name for name in keys_of(ask(client, example)) if f'"{name}"' not in PAGE}
        assert not missing
    assert not {column.name for column in metrics.c if f'"{column.name}"' not in PAGE}


def test_every_address_is_documented(client: FlaskClient) -> None:
    for call in CALLS:
        assert re.search(rf"^## .*: `{call.method} {re.escape(call.path)}`$", PAGE, re.MULTILINE)
    assert all(f"`GET {path}`" in PAGE for path in (OPENAPI, DOCS_PAGE))


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys_of(one) for one in value.values()))
    return set().union(*(keys_of(one) for one in value)) if isinstance(value, list) else set()


def test_every_field_of_a_metric_and_every_series_is_documented(client: FlaskClient) -> None:
    families = {line.split()[2] for line in client.get("/prometheus").text.splitlines() if line.startswith("# TYPE")}

    assert not {name for name in {*FIELDS, *Filters.__struct_fields__, *families} if f"`{name}`" not in PAGE}
