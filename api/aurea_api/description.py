"""The calls that describe the API: for programs, and for people."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cached_property
from typing import Any, NamedTuple

from flask import Response, render_template, request

from aurea_api import openapi
from aurea_api.calls import Call
from aurea_api.forwarded import public_origin, public_path
from aurea_api.responses import json_response

OPENAPI, PAGE = "/openapi.json", "/docs"


class Field(NamedTuple):
    """A line of the table of a body: where a value is, of which kind it is, what it means, and whether it must be."""

    place: str
    kind: str
    meaning: str
    is_required: bool


class Shown(NamedTuple):
    """A call as the page shows it; ``curl`` is without the address of the API, which goes before ``target``."""

    call: Call
    summary: str
    parameters: list[dict[str, Any]]
    asked: list[Field]
    answered: list[Field]
    curl: str
    target: str


class Description:
    """The description of calls, made once: anyone may ask for it."""

    def __init__(self, calls: tuple[Call, ...], *, asks_for_tokens: bool) -> None:
        self._calls = calls
        self._asks_for_tokens = asks_for_tokens

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """As OpenAPI, but for the place of the API."""
        return openapi.describe(self._calls, asks_for_tokens=self._asks_for_tokens)

    @cached_property
    def shown(self) -> list[Shown]:
        """For the page."""
        schemas = self.openapi["components"]["schemas"]
        return [_shown(call, schemas, asks_for_tokens=self._asks_for_tokens) for call in self._calls]


def show_openapi(description: Description) -> Response:
    """The description, for programs."""
    return json_response(description.openapi | {"servers": [{"url": public_path(request, OPENAPI) or "/"}]})


def show_page(description: Description) -> Response:
    """The description, for people: one page that needs no script and no other host."""
    style = render_template("aurea_api.css")
    page = render_template(
        "aurea_api.html",
        calls=description.shown,
        address=public_origin(request) + public_path(request, PAGE),
        style=style,
        info=description.openapi["info"],
        errors=openapi.ERRORS,
    )
    response = Response(page, mimetype="text/html")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return response


def _shown(call: Call, schemas: dict[str, Any], *, asks_for_tokens: bool) -> Shown:
    answer = {} if isinstance(call.answer, str) else schemas[call.answer.__name__]
    parameters = openapi.parameters_of(call)
    required = "&".join(f"{one['name']}={one['schema']['enum'][0]}" for one in parameters if _is_asked(one))
    return Shown(
        call=call,
        summary=openapi.summary_of(call),
        parameters=parameters,
        asked=_fields(call.body or {}, schemas),
        answered=_fields(answer, schemas),
        curl=_curl(call, asks_for_tokens=asks_for_tokens),
        target=call.path.replace("{job_id}", "JOB") + (f"?{required}" if required else ""),
    )


def _fields(schema: dict[str, Any], schemas: dict[str, Any], place: str = "") -> list[Field]:
    """The values of a body, those in objects and lists below their own names."""
    required = schema.get("required", ())
    found = []
    for name, value in schema.get("properties", {}).items():
        kinds = [_resolved(one, schemas) for one in value.get("anyOf", [value])]
        kind = " or ".join(_kind(one) for one in kinds)
        found.append(Field(place + name, kind, value.get("description", ""), name in required))
        for one in kinds:
            inner = _resolved(one.get("items", one), schemas)
            if inner is not schema:
                found += _fields(inner, schemas, f"{place}{name}{'[]' if 'items' in one else ''}.")
    return found


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _kind(schema: dict[str, Any]) -> str:
    """In few words; ``integer``, ``date-time or null``, ``array of number``, ``retry or failure``."""
    kind = schema.get("enum") or schema.get("format") or schema.get("type", "anything")
    if kind == "array" and "type" in schema.get("items", {}):
        return f"array of {_kind(schema['items'])}"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _curl(call: Call, *, asks_for_tokens: bool) -> str:
    parts = []
    if asks_for_tokens and not call.is_open:
        parts.append("-H 'Authorization: Bearer TOKEN'")
    if call.body is not None:
        parts.append(f"-H 'Content-Type: application/json' -d '{json.dumps(call.body['examples'][0])}'")
    return "curl " + "".join(f"{part} \\\n    " for part in parts)


def _is_asked(parameter: dict[str, Any]) -> bool:
    return bool(parameter["required"]) and parameter["in"] == "query"
