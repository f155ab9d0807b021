"""Rows of the table ``metrics`` as the API tells them: their columns are their description."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.dialects.postgresql import JSONB

from aurea_celery.events import COST_STATUSES, STATUSES
from aurea_celery.storage.queries import Metric
from aurea_celery.storage.schema import metrics

Row = Annotated[Metric, Meta(extra_json_schema={"$ref": "#/components/schemas/Row"})]
"""A row, described by :func:`row_schema`."""

TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], dict[str, Any]], ...] = (
    (sa.Boolean, {"type": "boolean"}),
    (sa.Integer, {"type": "integer"}),
    (sa.Numeric, {"type": "number"}),
    (sa.DateTime, {"type": "string", "format": "date-time"}),
    (sa.Uuid, {"type": "string", "format": "uuid"}),
    (sa.Text, {"type": "string"}),
)
JSON_COLUMNS: dict[str, dict[str, Any]] = {
    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    "call_usages": {"type": "array", "items": {}},
}
ENUMS: dict[str, tuple[str, ...]] = {"status": STATUSES, "cost_status": COST_STATUSES}


def row_schema() -> dict[str, Any]:
    """The JSON schema of a row, from the table's columns."""
    return {
        "title": "Row",
        "description": "What one execution spent on one model: a row of the table metrics.",
        "type": "object",
        "properties": {str(column.name): _column_schema(column) for column in metrics.c},
        "required": [str(column.name) for column in metrics.c],
    }


def _column_schema(column: sa.Column[Any]) -> dict[str, Any]:
    is_json = isinstance(column.type, JSONB)
    schema = dict(JSON_COLUMNS[column.name] if is_json else _scalar_schema(column))
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema | ({"description": column.comment} if column.comment else {})


def _scalar_schema(column: sa.Column[Any]) -> dict[str, Any]:
    schema = next(schema for kind, schema in TYPES if isinstance(column.type, kind))
    return schema | ({"enum": list(ENUMS[column.name])} if column.name in ENUMS else {})
