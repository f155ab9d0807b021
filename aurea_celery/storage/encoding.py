"""Texts in databases whose encoding is not UTF-8: every text can be written, and all that is there can be read.

A character that the database's encoding does not have is written as a character reference, as XML has them: an emoji
becomes ``&#128512;``. So two names that differ still do, a name that is looked for is found, and text stays JSON where
it was. A database in ``SQL_ASCII`` keeps bytes without knowing of what: ours are UTF-8, and what is not is read with
replacement characters. The server refuses to send such bytes as UTF-8, but sends all bytes as LATIN1.

PostgreSQL and Python agree on every character of the encodings of one byte. On those of several bytes they do not, and
everything beyond ASCII is written as a reference there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from psycopg2 import extras
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class that the driver spells like a variable
from psycopg2.extensions import encodings, new_array_type, new_type, register_type

Encode = Callable[[str], str]
"""Returns a text as the driver is to send it."""

BYTES_WITHOUT_ENCODING, EVERY_BYTE = "SQL_ASCII", "LATIN1"
ONE_BYTE = ("LATIN", "ISO_8859", "WIN", "KOI8")
TEXT_OIDS, TEXT_ARRAY_OIDS = (18, 19, 25, 705, 1042, 1043), (1002, 1003, 1009, 1014, 1015)


def prepare(raw: Connection) -> Encode | None:
    """Prepare a new connection; return how its texts are to be sent, None if as they are."""
    name = raw.info.parameter_status("server_encoding") or "UTF8"
    if name == "UTF8":
        return None
    if name == BYTES_WITHOUT_ENCODING:
        _read_any_bytes(raw)
        return _utf8_as_latin1
    codec = encodings[name] if name.startswith(ONE_BYTE) else "ascii"
    return lambda text: text.encode(codec, "xmlcharrefreplace").decode(codec)


def encode_parameters(parameters: Any, encode: Encode) -> Any:
    """Return the parameters of a statement, or of several, with their texts as the driver is to send them."""
    if isinstance(parameters, str):
        return encode(parameters)
    if isinstance(parameters, dict):
        return {name: encode_parameters(value, encode) for name, value in parameters.items()}
    if isinstance(parameters, list | tuple):
        return type(parameters)(encode_parameters(value, encode) for value in parameters)
    return parameters


def _read_any_bytes(raw: Connection) -> None:
    raw.set_client_encoding(EVERY_BYTE)
    raw.rollback()
    text = new_type(TEXT_OIDS, "aurea_text", _read)
    register_type(text, raw)
    register_type(new_array_type(TEXT_ARRAY_OIDS, "aurea_text_array", text), raw)
    for register in (extras.register_default_json, extras.register_default_jsonb):
        register(raw, loads=lambda value: json.loads(_latin1_as_utf8(value)))


def _read(value: Any, _cursor: object) -> str | None:
    return None if value is None else _latin1_as_utf8(value)


def _utf8_as_latin1(text: str) -> str:
    return text.encode().decode("latin-1")


def _latin1_as_utf8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")
