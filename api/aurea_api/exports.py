"""The calls that hand out all rows of a selection as a file, however many there are."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from itertools import chain

from flask import Response, abort

from aurea_api.calls import Services
from aurea_api.filters import Filters, read_selection
from aurea_celery.errors import MissingPackage
from aurea_celery.storage.export import read_pieces
from aurea_celery.storage.formats import CSV, JSONL, PARQUET, Format
from aurea_celery.storage.selection import Selection


def export_csv(services: Services, filters: Filters) -> Response:
    """The rows as CSV with a header, oldest first."""
    return _export(services, filters, CSV)


def export_jsonl(services: Services, filters: Filters) -> Response:
    """The rows as JSON Lines, one object each, oldest first."""
    return _export(services, filters, JSONL)


def export_parquet(services: Services, filters: Filters) -> Response:
    """The rows as Apache Parquet, oldest first; 501 where pyarrow is not installed."""
    return _export(services, filters, PARQUET)


def _export(services: Services, filters: Filters, kind: Format) -> Response:
    """What goes wrong before the first piece is an answer of its own; after it, the connection is cut."""
    file = _file(services, read_selection(filters, datetime.now(UTC)), kind)
    try:
        first = next(file, b"")
    except MissingPackage as error:
        abort(501, str(error))
    response = Response(chain([first], file), content_type=kind.media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="metrics.{kind.name}"'
    response.call_on_close(file.close)  # a client that goes away ends the query
    return response


def _file(services: Services, selection: Selection, kind: Format) -> Generator[bytes, None, None]:
    with services.store.stream() as connection:
        yield from kind.encode(read_pieces(connection, selection))
