"""The description of the API (OpenAPI 3.1), made of what serves and checks its calls."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from aurea_api import idempotence
from aurea_api.calls import Call
from aurea_api.errors import Error
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
KEY = {
    "name": idempotence.HEADER,
    "in": "header",
    "required": False,
    "description": "A text of your own: the same request with it again is answered alike, and not written again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
ERRORS = {
    400: "A parameter or a field is missing, unknown or wrong; the sentence names it",
    401: "The request has no token that is known",
    403: "The token may read and not write, or there are no tokens and the request is from elsewhere",
    404: "Nothing is known of the job",
    410: "It needs rows that retention has dropped, or was posted before and is not kept any more",
    413: "The body is too large",
    415: "The body is not declared as application/json",
    422: "Something else was posted with this id or key before",
    500: "A fault in aurea-celery; its log says more",
    501: "pyarrow is not installed where the API runs",
    503: "The database is away, or its tables are missing or of another release",
}
REPLAYED = {"description": "true, if all of it was written before", "schema": {"const": "true"}}
ERROR_HEADERS = {
    401: {"WWW-Authenticate": {"description": "How to say who you are", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "When to try again, in seconds", "schema": {"type": "integer"}}},
}


def describe(calls: Sequence[Call], *, asks_for_tokens: bool) -> dict[str, Any]:
    """The whole description, as a value that can be written as JSON; where the API is, is left out."""
    answers = [call.answer for call in calls if not isinstance(call.answer, str)]
    _, components = msgspec.json.schema_components([*answers, Error], ref_template=REF)
    schemas = {name: numbers(schema) for name, schema in components.items()} | {"Row": row_schema()}
    security = {"bearer": {"type": "http", "scheme": "bearer"}}
    paths: dict[str, Any] = {}
    for call in calls:
        operation = _operation(call, asks_for_tokens=asks_for_tokens)
        operation["responses"][str(call.status)] |= _links(call, calls)
        paths.setdefault(call.path, {})[call.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aurea-celery",
            "version": __version__,
            "description": "Tokens, money and latency of every Celery job.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": _tags(calls),
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
            "description": _sentence(field.get("description"), words[name]),
            "schema": _without_null(field),
        }
        for name, field in schema["properties"].items()
    ]
    return ([JOB_ID] if "{job_id}" in call.path else []) + query + ([KEY] if call.method == "POST" else [])


def summary_of(call: Call) -> str:
    """What a call does, in one sentence: the first line of its handler's docstring."""
    return (inspect.getdoc(call.handler) or "").partition("\n")[0]


def _tags(calls: Sequence[Call]) -> list[dict[str, str]]:
    """What the calls are about: the module of their handlers, and the first line of its docstring."""
    modules = {_tag(call): sys.modules[call.handler.__module__] for call in calls}
    return [{"name": name, "description": (one.__doc__ or "").partition("\n")[0]} for name, one in modules.items()]


def _tag(call: Call) -> str:
    return call.handler.__module__.rpartition(".")[2]


def _links(call: Call, calls: Sequence[Call]) -> dict[str, Any]:
    """The calls about the job that an answer tells of."""
    links = {
        one.name: {"operationId": one.name, "parameters": {"job_id": call.job}}
        for one in calls
        if "{job_id}" in one.path
    }
    return {"links": links} if call.job else {}


def _operation(call: Call, *, asks_for_tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "tags": [_tag(call)],
        "summary": summary_of(call),
        "parameters": parameters_of(call),
        "responses": {str(call.status): _answer(call)} | _errors(call, asks_for_tokens=asks_for_tokens),
    }
    if call.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.body}}}
    if asks_for_tokens:  # whoever has a token is told more by an open call
        operation["security"] = [{"bearer": []}, *([{}] if call.is_open else [])]
    return operation


def _answer(call: Call) -> dict[str, Any]:
    if isinstance(call.answer, str):
        return {"description": summary_of(call), "content": {call.answer: {}}}
    said = (inspect.getdoc(call.answer) or "").partition("\n")[0]
    headers = {"headers": {idempotence.REPLAYED: REPLAYED}} if call.method == "POST" else {}
    return {"description": said, **headers, "content": {"application/json": {"schema": _reference(call.answer)}}}


def _errors(call: Call, *, asks_for_tokens: bool) -> dict[str, Any]:
    statuses: Iterable[int] = (400, 500, 503, *call.errors)
    if "{job_id}" in call.path:
        statuses = (*statuses, 404)
    if issubclass(call.query, Filters) and not isinstance(call.answer, str):
        statuses = (*statuses, 410)
    if not call.is_open:
        statuses = (*statuses, 403, *((401,) if asks_for_tokens else ()))
    return {str(status): _error(call, status) for status in sorted(statuses)}


def _error(call: Call, status: int) -> dict[str, Any]:
    # How an API that cannot answer feels is what its health is about.
    body = _reference(call.answer) if call.is_open and status == 503 else _reference(Error)  # noqa: PLR2004 - HTTP's
    headers = {"headers": ERROR_HEADERS[status]} if status in ERROR_HEADERS else {}
    return {"description": ERRORS[status], **headers, "content": {"application/json": {"schema": body}}}


def _reference(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out; it cannot be null."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
    default = {} if schema.get("default") in (None, [], "") else {"default": schema["default"]}
    left_out = {"anyOf", "default", "description"}
    return {name: value for name, value in (schema | kinds[0]).items() if name not in left_out} | default


def _sentence(meaning: str | None, must: str) -> str:
    """What a parameter is for, where that is said, and what it must be."""
    said = f"{meaning}: {must}" if meaning else must
    return f"{said[0].upper()}{said[1:]}."
