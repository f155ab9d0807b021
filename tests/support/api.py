"""Talking to the API as a client does, with exact numbers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote

from flask.testing import FlaskClient

METRIC: dict[str, Any] = {
    "job_id": "job_123",
    "task_name": "text_generation",
    "model_used": "gpt-4",
    "token_count": 500,
    "latency_ms": 1250.5,
    "cost_estimate": 0.015,
}


class Answer(NamedTuple):
    """A status, a JSON body with every number exact, and headers."""

    status: int
    body: Any
    headers: dict[str, str]


def read_json(data: bytes | str) -> Any:
    """JSON with every fraction as a Decimal; what is not JSON, such as NaN, is refused."""
    return json.loads(data, parse_float=Decimal, parse_constant=_refuse)


def get(client: FlaskClient, path: str) -> Answer:
    """GET."""
    answer = client.get(path)
    assert answer.mimetype == "application/json"
    return Answer(answer.status_code, read_json(answer.data), dict(answer.headers))


def post(client: FlaskClient, body: Any, path: str = "/metrics") -> Answer:
    """POST a value, or a text that is JSON already."""
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(path, data=text, content_type="application/json")
    assert answer.mimetype == "application/json"
    return Answer(answer.status_code, read_json(answer.data), dict(answer.headers))


def path_of(job_id: str) -> str:
    """The address of a job, whatever characters are in its id."""
    return f"/metrics/jobs/{quote(job_id, safe='')}"


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
