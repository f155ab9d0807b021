"""What a call of the API is: the one declaration that it is served, checked and described from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from flask import Response, request
from msgspec import Struct

from aurea_api.broker_queue import Queue
from aurea_api.doors import Doors
from aurea_api.parameters import NoQuery, read_query
from aurea_api.responses import json_response
from aurea_api.store import Store


class Services(NamedTuple):
    """What calls work with."""

    store: Store
    queue: Queue
    doors: Doors


class Call(NamedTuple):
    """One call.

    ``handler`` takes the services and the query, and below a job its id too; it gives the value of the answer, or a
    response. Its docstring describes the call.
    """

    method: Literal["GET", "POST"]
    path: str
    """As OpenAPI writes it: ``/metrics/jobs/{job_id}``."""
    handler: Callable[..., Any]
    answer: Any
    """The type of the answer's body; of one that is no JSON, its media type."""
    query: type[Struct] = NoQuery
    body: dict[str, Any] | None = None
    """The JSON schema of the request's body."""
    status: int = 200
    errors: tuple[int, ...] = ()
    """The statuses of errors that no other call has."""
    is_open: bool = False
    """Whether anyone may call it."""
    job: str = ""
    """Where a request or its answer names a job, as an expression of OpenAPI; calls about that job may follow."""

    @property
    def name(self) -> str:
        """Its endpoint in the blueprint."""
        return self.handler.__name__

    def serve(self, services: Services, *path: str) -> Response:
        """Answer the current request."""
        value = self.handler(services, read_query(request.args, self.query), *path)
        return value if isinstance(value, Response) else json_response(value, self.status)
