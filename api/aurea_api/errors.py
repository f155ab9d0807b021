"""Every error as ``{"error": "<one sentence>"}``; what is internal goes to the log."""

from __future__ import annotations

import logging
from typing import Annotated

from flask import Blueprint, Response
from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from aurea_api.responses import json_bytes, json_response
from aurea_celery._guard import log_once_a_minute
from aurea_celery.errors import DatabaseBusy, DatabaseError, RowsPruned, SchemaMismatch

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5

# Instead of what werkzeug says by itself.
SENTENCES = {
    400: "the request could not be read; check that it is complete",
    404: "there is nothing at this address; the calls are /health, /prometheus and those below /metrics",
    405: "this address does not take that method; the Allow header names those it takes",
}


class Error(Struct, frozen=True):
    """What went wrong, in one sentence; of a batch also the first error of each metric that has one."""

    error: Annotated[str, Meta(examples=["Missing required field: token_count"])]
    errors: list[str] | UnsetType = UNSET


def register_error_handlers(blueprint: Blueprint) -> None:
    """Answer with JSON whatever goes wrong inside the blueprint's calls; the rest of the app is left alone."""
    for code in (400, 404, 413, 415):  # one by one: the host's handler of a code goes before ours of a class
        blueprint.register_error_handler(code, http_error)
    blueprint.register_error_handler(HTTPException, http_error)
    blueprint.register_error_handler(DatabaseError, database_error)
    blueprint.register_error_handler(RowsPruned, rows_pruned)
    blueprint.register_error_handler(Exception, fault)


def http_error(error: HTTPException) -> AnyResponse:
    """An error with a status of its own; its headers, such as Allow, are kept."""
    response = error.get_response()
    is_ours = error.description != type(error).description
    sentence = error.description if is_ours else SENTENCES.get(response.status_code, error.name)
    response.set_data(json_bytes(Error(sentence or error.name)))
    response.content_type = "application/json"
    return response


def database_error(error: DatabaseError) -> Response:
    """The database is away, busy, or of another release."""
    log_once_a_minute("api", logging.ERROR, "aurea-celery: %s", error)
    is_ours = isinstance(error, SchemaMismatch | DatabaseBusy)
    sentence = str(error) if is_ours else "the database is not available; try again in a few seconds"
    response = json_response(Error(sentence), 503)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def rows_pruned(error: RowsPruned) -> Response:
    """What is asked was known once."""
    return json_response({"error": str(error)}, 410)


def fault(error: Exception) -> Response:
    """A bug of ours."""
    logger.error("aurea-celery: a call of the API failed", exc_info=error)
    return json_response(Error("the call failed because of a fault in aurea-celery; its log says more"), 500)
