"""Rows as files: CSV for spreadsheets, JSON Lines for programs, Parquet for analysis. Made a piece at a time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aurea_celery.errors import MissingPackage
from aurea_celery.storage.export import COLUMNS, NAMES, Pieces, Row

if TYPE_CHECKING:
    import pyarrow as pa

_UNSEEN = r"[\s\x00-\x1f\x7f\xad\u200b-\u200f\u2060-\u2064\ufeff]*"
_SIGN = r"[=+\-@\u2212\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]"
_IN_A_TEXT = r"(?<=;)|(?<=[^\t]\t)|(?<=.\n)|(?<=.\r)(?!\n)"
FORMULA = re.compile(rf"^(?=[\t\r\n])|(?:^|{_IN_A_TEXT})(?={_UNSEEN}{_SIGN})", re.DOTALL)
"""Where a spreadsheet would begin to read a formula in a text (OWASP, CSV injection).

That is at its beginning, also behind what cannot be seen, and also with the signs of full and small width that Japanese
and Chinese input methods make; and where a cell begins for a spreadsheet that takes semicolons or tabs as separators.
"""

DECIMAL_DIGITS, DECIMAL_PLACES = 38, 18
"""The widest decimal that every reader of Parquet knows."""

PARQUET_GROUP_ROWS = 10_000
_CONTEXT = Context(prec=2 * DECIMAL_DIGITS)
_SMALLEST = Decimal(1).scaleb(-DECIMAL_PLACES)
_encoder = msgspec.json.Encoder(decimal_format="number")


Conversion = Callable[[Any], Any]


class Format(NamedTuple):
    """One kind of file."""

    name: str
    media_type: str
    encode: Callable[[Pieces], Iterator[bytes]]
    """Turns pieces of rows into pieces of the file; none of them is empty."""


def to_csv(pieces: Pieces) -> Iterator[bytes]:
    """RFC 4180 in UTF-8 with a header; what is not known is empty.

    Where a spreadsheet would take a text for a formula, an apostrophe stands before it.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(NAMES)
    for piece in pieces:
        writer.writerows(_converted(piece, _CELLS))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    if text.tell():  # there were no rows
        yield text.getvalue().encode()


def _converted(rows: Sequence[Row], conversions: Mapping[type[Any], Conversion]) -> Iterator[Row]:
    """The rows with each column converted by its type; None stays."""
    columns = []
    for column, values in zip(COLUMNS, zip(*rows, strict=True), strict=True):
        convert = conversions.get(type(column.type))
        columns.append(values if convert is None else [None if one is None else convert(one) for one in values])
    return zip(*columns, strict=True)


def _cell_of_text(text: str) -> str:
    return FORMULA.sub("'", text)


def _cell_of_time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _cell_of_json(value: Any) -> str:
    """JSON in which no cell begins for a spreadsheet that takes semicolons as separators; it means the same."""
    return _json(value).replace(";", "\\u003b")


def _json(value: Any) -> str:
    return _encoder.encode(value).decode()


def to_jsonl(pieces: Pieces) -> Iterator[bytes]:
    """A line each, with the names and values that the API's rows have."""
    for piece in pieces:
        yield _encoder.encode_lines([dict(zip(NAMES, row, strict=True)) for row in piece])


def to_parquet(pieces: Pieces) -> Iterator[bytes]:
    """Apache Parquet; a decimal has 18 places at most, and what is further is rounded.

    Raises:
        MissingPackage: If pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - the same
    except ImportError:
        raise MissingPackage("Parquet needs pyarrow where this runs; install it there: pip install pyarrow") from None
    sink, schema = _Sink(), _schema(pa)
    with pq.ParquetWriter(sink, schema) as writer:
        for group in _groups(pieces):
            columns = zip(*_converted(group, _PARQUET_VALUES), strict=True)
            writer.write_table(pa.table(list(map(list, columns)), schema=schema))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """What the writer of Parquet writes to; it keeps only what was not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """Called by the writer."""
        return True

    def write(self, part: Any) -> int:
        """Called by the writer."""
        self._parts.append(bytes(part))
        self._written += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        """Called by the writer: how much was written ever."""
        return self._written

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _groups(pieces: Pieces) -> Pieces:
    """Larger pieces."""
    group: list[Any] = []
    for piece in pieces:
        group.extend(piece)
        if len(group) >= PARQUET_GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _schema(pa: Any) -> pa.Schema:
    kinds: dict[type[Any], Any] = {
        sa.SmallInteger: pa.int16(),
        sa.BigInteger: pa.int64(),
        sa.Integer: pa.int32(),
        sa.Boolean: pa.bool_(),
        sa.DateTime: pa.timestamp("us", tz="UTC"),
        sa.Numeric: pa.decimal128(DECIMAL_DIGITS, DECIMAL_PLACES),
    }
    return pa.schema([(column.name, kinds.get(type(column.type), pa.string())) for column in COLUMNS])


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_SMALLEST, context=_CONTEXT)


_CELLS: dict[type[Any], Conversion] = {
    sa.Text: _cell_of_text,
    sa.Numeric: "{:f}".format,
    sa.DateTime: _cell_of_time,
    sa.Boolean: _json,
    JSONB: _cell_of_json,
}
_PARQUET_VALUES: dict[type[Any], Conversion] = {sa.Numeric: _rounded, sa.Uuid: str, JSONB: _json}

CSV = Format("csv", "text/csv; charset=utf-8; header=present", to_csv)
JSONL = Format("jsonl", "application/x-ndjson", to_jsonl)
PARQUET = Format("parquet", "application/vnd.apache.parquet", to_parquet)
FORMATS: dict[str, Format] = {one.name: one for one in (CSV, JSONL, PARQUET)}
