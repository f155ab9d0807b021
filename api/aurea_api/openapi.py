"""The description of the API (OpenAPI 3.1), made of what serves and checks its calls."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from aurea_api.calls import Call
from aurea_api.filters import Filters
from aurea_api.parameters import words_of
from aurea_api.rows import row_schema
from aurea_celery._version import __version__

REF = "#/components/schemas/{name}"
JOB_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "The job's id; each character that is special in a URL is encoded, the slash too (a%2Fb).",
    "schema": {"type": "string", "minLength": 1},
}
ERRORS = {
    400: "A parameter or a field is missing, unknown or wrong; the sentence names it",
    401: "The request has no token that is known",
    403: "The token may read and not write, or there are no tokens and the request is from elsewhere",
    404: "Nothing is known of the job",
    409: "The id was used for something else",
    410: "It needs rows that retention has dropped; the sentence says from which day on it can be asked",
    413: "The body is too large",
    415: "The body is not declared as application/json",
    500: "A fault in aurea-celery; its log says more",
    503: "The database is away, or its tables are missing or of another release",
}


class Error(Struct, frozen=True):
    """What went wrong, in one sentence."""

    error: str


def describe(calls: Sequence[Call], server: str, *, asks_for_tokens: bool) -> dict[str, Any]:
    """The whole description, as a value that can be written as JSON."""
    answers = [call.answer for call in calls if not isinstance(call.answer, str)]
    _, components = msgspec.json.schema_components([*answers, Error], ref_template=REF)
    schemas = {name: numbers(schema) for name, schema in components.items()} | {"Row": row_schema()}
    security = {"bearer": {"type": "http", "scheme": "bearer"}}
    paths: dict[str, Any] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, asks_for_tokens=asks_for_tokens)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aurea-celery",
            "version": __version__,
            "description": "Tokens, money and latency of every Celery job.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server or "/"}],
        "paths": paths,
        "components": {"schemas": schemas} | ({"securitySchemes": security} if asks_for_tokens else {}),
    }


def numbers(schema: Any) -> Any:
    """A schema in which decimals are numbers, as this API writes them, and not texts.

    >>> numbers({"anyOf": [{"type": "string", "format": "decimal"}, {"type": "null"}]})
    {'anyOf': [{'type': 'number'}, {'type': 'null'}]}
    """
    if isinstance(schema, list):
        return [numbers(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":  # nor is a default one
        return {name: value for name, value in schema.items() if name not in {"format", "default"}} | {"type": "number"}
    return {name: numbers(value) for name, value in schema.items()}


def parameters_of(call: Call) -> list[dict[str, Any]]:
    """The parameters of a call, in its path and its query."""
    _, components = msgspec.json.schema_components([call.query], ref_template=REF)
    schema, words = components[call.query.__name__], words_of(call.query)
    required = schema.get("required", ())
    query = [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": words[name][0].upper() + words[name][1:] + ".",
            "schema": _without_null(field),
        }
        for name, field in schema["properties"].items()
    ]
    return ([JOB_ID] if "{job_id}" in call.path else []) + query


def summary_of(call: Call) -> str:
    """What a call does, in one sentence: the first line of its handler's docstring."""
    return (inspect.getdoc(call.handler) or "").partition("\n")[0]


def _operation(call: Call, *, asks_for_tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": summary_of(call),
        "parameters": parameters_of(call),
        "responses": {str(call.status): _answer(call)} | _errors(call, asks_for_tokens=asks_for_tokens),
    }
    if call.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.body}}}
    if asks_for_tokens and not call.is_open:
        operation["security"] = [{"bearer": []}]
    return operation


def _answer(call: Call) -> dict[str, Any]:
    if isinstance(call.answer, str):
        return {"description": "Done", "content": {call.answer: {}}}
    return {"description": "Done", "content": {"application/json": {"schema": _reference(call.answer)}}}


def _errors(call: Call, *, asks_for_tokens: bool) -> dict[str, Any]:
    statuses: Iterable[int] = (400, 500, 503)
    if "{job_id}" in call.path:
        statuses = (*statuses, 404)
    if issubclass(call.query, Filters) and not isinstance(call.answer, str):
        statuses = (*statuses, 410)
    if call.method == "POST":
        statuses = (*statuses, 409, 413, 415)
    if not call.is_open:
        statuses = (*statuses, 403, *((401,) if asks_for_tokens else ()))
    return {str(status): _error(call, status) for status in sorted(statuses)}


def _error(call: Call, status: int) -> dict[str, Any]:
    # How an API that cannot answer feels is what its health is about.
    body = _reference(call.answer) if call.is_open and status == 503 else _reference(Error)  # noqa: PLR2004 - HTTP's
    return {"description": ERRORS[status], "content": {"application/json": {"schema": body}}}


def _reference(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out; it cannot be null."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    default = {} if schema.get("default") in (None, [], "") else {"default": schema["default"]}
    return {**kept, **kinds[0], **default}
