"""The query parameters of a call: a struct declares them, and its metadata says what a wrong one must be."""

from __future__ import annotations

import contextlib
import re
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import msgspec
from flask import abort
from msgspec import Meta, Struct, inspect
from werkzeug.datastructures import MultiDict

MAX_LIMIT = 1000
MAX_OFFSET = 2**53 - 1
SHOWN_CHARACTERS = 50

# msgspec would also read 1e2 as a whole number, and a number as the seconds since 1970.
STRICT = {inspect.IntType: "[0-9]{1,16}", inspect.DateTimeType: r"\d{4}-\d{2}-\d{2}T.*"}


def must_be(what: str, **rules: Any) -> Meta:
    """The metadata of a parameter: its rules for the validator, and the words for whoever breaks them."""
    return Meta(extra={"must": what}, **rules)


def means(what: str) -> Meta:
    """The metadata that says what a parameter is for."""
    return Meta(description=what)


Limit = Annotated[
    int, must_be(f"a whole number from 1 to {MAX_LIMIT}", ge=1, le=MAX_LIMIT), means("How many to answer with at most")
]
Offset = Annotated[
    int, must_be(f"a whole number from 0 to {MAX_OFFSET}", ge=0, le=MAX_OFFSET), means("How many to leave out before")
]


class NoQuery(Struct, frozen=True):
    """No parameters."""


class Page(Struct, frozen=True, kw_only=True):
    """Which part of a list is asked for."""

    limit: Limit = 100
    offset: Offset = 0


Query = TypeVar("Query", bound=Struct)


def read_query(given: MultiDict[str, str], kind: type[Query]) -> Query:
    """The parameters of a request; a list takes all that are given under its name.

    Raises:
        werkzeug.exceptions.BadRequest: If one is missing, unknown, wrong, or given twice where one is meant.

    >>> read_query(MultiDict({"limit": "10"}), Page)
    Page(limit=10, offset=0)
    """
    fields = _fields(kind)
    for name in given:
        if name not in fields:
            abort(400, f"Unknown parameter: {name[:SHOWN_CHARACTERS]!a}; this call takes {_names(fields)}")
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in given:
            abort(400, f"Missing parameter: {field.name}")
    return kind(**{name: fields[name].read(given.getlist(name)) for name in given})


def words_of(kind: type[Struct]) -> dict[str, str]:
    """What each parameter must be, by its name.

    >>> words_of(Page)["limit"]
    'a whole number from 1 to 1000'
    """
    return {name: field.must for name, field in _fields(kind).items()}


class _Field(Struct, frozen=True):
    """One parameter: how its texts are read."""

    name: str
    type: Any
    is_list: bool
    must: str
    pattern: str

    def read(self, texts: list[str]) -> Any:
        if not self.is_list and len(texts) > 1:
            abort(400, f"{self.name} was given more than once")
        if all(re.fullmatch(self.pattern, text, re.DOTALL) for text in texts):
            with contextlib.suppress(msgspec.ValidationError):
                return msgspec.convert(texts if self.is_list else texts[0], self.type, strict=False)
        return abort(400, f"{self.name} must be {self.must}")


@cache
def _fields(kind: type[Struct]) -> dict[str, _Field]:
    described = cast("inspect.StructType", inspect.type_info(kind)).fields
    declared = msgspec.structs.fields(kind)
    return {one.name: _field(one.name, one.type, two.type) for one, two in zip(declared, described, strict=True)}


def _field(name: str, declared: Any, described: inspect.Type) -> _Field:
    described = _without_meaning(described)
    is_list = isinstance(described, inspect.ListType)
    if isinstance(described, inspect.ListType):
        described = described.item_type
    if isinstance(described, inspect.UnionType):  # with None, which is not to be had from a text
        described = next(one for one in described.types if not isinstance(one, inspect.NoneType))
    words = cast("inspect.Metadata", described)
    return _Field(name, declared, is_list, (words.extra or {})["must"], STRICT.get(type(words.type), ".*"))


def _without_meaning(described: inspect.Type) -> inspect.Type:
    """The list, or the type or None, that :func:`means` was said of."""
    is_whole = isinstance(described, inspect.Metadata) and isinstance(
        described.type, inspect.ListType | inspect.UnionType
    )
    return cast("inspect.Metadata", described).type if is_whole else described


def _names(fields: dict[str, _Field]) -> str:
    return ", ".join(fields) or "none"
