"""Prices as a person writes them: on a command line, or in a file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from aurea_celery.commands.base import Dollars, Time, is_storable
from aurea_celery.commands.figures import printable
from aurea_celery.errors import ConfigurationError
from aurea_celery.events import TEXT_MAX_CHARACTERS

RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio", "total")
FIELDS = ("model", "provider", "from", "same_as", "wildcard", "note", *RATES)
"""What a price in a file may say."""

TEXTS = ("model", "provider", "same_as", "note")

BEYOND = "(beyond the last name)"
"""Where in a line of CSV values stand that the first line has no name for."""

PART_OF = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "input_audio": "input",
    "output_audio": "output",
}
"""Rates for a part of the tokens, and the rate of what they are a part of."""

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def price_row(given: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``model_prices``; names of models are told apart without regard to capitals.

    Raises:
        ConfigurationError: If it does not say one price.
    """
    rates = {rate: given[rate] for rate in RATES if given.get(rate) is not None}
    _check(given, rates)
    return {
        "model": given["model"].lower(),
        "provider": given.get("provider") or "",
        "effective_from": given.get("effective_from") or ALWAYS,
        "is_pattern": bool(given.get("is_pattern")),
        "same_as": given.get("same_as") or None,
        "note": given.get("note"),
        **{f"{rate}_usd_per_million": rates.get(rate) for rate in RATES},
    }


def _check(given: Mapping[str, Any], rates: Mapping[str, Any]) -> None:
    """Make sure that what is given says one price that can apply.

    Raises:
        ConfigurationError: If it does not.
    """
    model = given["model"]
    if not 1 <= len(model) <= TEXT_MAX_CHARACTERS:
        raise ConfigurationError(f"the name of a model has 1 to {TEXT_MAX_CHARACTERS} characters")
    if not all(is_storable(given.get(name) or "") for name in TEXTS):
        raise ConfigurationError(f"{printable(model)}: a text must be valid UTF-8 without NUL")
    if bool(rates) == bool(given.get("same_as")):
        raise ConfigurationError(f"{model}: say either rates or the model it costs the same as, and not both")
    if ("*" in model) != bool(given.get("is_pattern")):
        raise ConfigurationError(
            f"{model}: a * means anything only with --wildcard (in a file, wildcard: yes), which needs one"
        )
    for part, whole in PART_OF.items():
        if part in rates and whole not in rates:
            raise ConfigurationError(f"{model}: the price for {part} is for a part of the {whole}; say both")


def price_line(row: Mapping[str, Any]) -> str:
    """A row of ``model_prices`` for a person."""
    seller = f" of {row['provider']}" if row["provider"] else ""
    since = (
        "" if row["effective_from"] <= ALWAYS else f" from {row['effective_from'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )
    note = f" ({printable(row['note'])})" if row["note"] else ""
    if row["same_as"]:
        return f"{row['model']}{seller}{since}: the same as {row['same_as']}{note}"
    rates = ((rate, row[f"{rate}_usd_per_million"]) for rate in RATES)
    said = ", ".join(f"{rate.replace('_', ' ')} ${usd.normalize():f}" for rate, usd in rates if usd is not None)
    return f"{row['model']}{seller}{since}: {said}{note}"


def read_prices(file: Path) -> list[dict[str, Any]]:
    """The prices in a file, JSON or CSV, as rows of ``model_prices``.

    Raises:
        ConfigurationError: If one of them is not a price or there twice, or none is there.
    """
    rows = [_row_of_entry(number, one) for number, one in enumerate(_entries(file), 1)]
    if not rows:
        raise ConfigurationError(f"{file.name} holds no price")
    keys = Counter((row["model"], row["provider"], row["effective_from"]) for row in rows)
    (model, *_), times = keys.most_common(1)[0]
    if times > 1:
        raise ConfigurationError(f"{model}: there are {times} prices from the same time on; leave one")
    return rows


def _entries(file: Path) -> list[dict[str, Any]]:
    """The prices of a file, each by the names of its fields.

    Raises:
        ConfigurationError: If it is neither JSON nor CSV.
    """
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file.name} is not UTF-8; save it so") from None
    if not text.lstrip().startswith(("[", "{")):
        return [dict(one) for one in csv.DictReader(text.splitlines(), restkey=BEYOND)]
    try:
        found: Any = json.loads(text, parse_float=str, parse_int=str)
    except ValueError as error:
        raise ConfigurationError(f"{file.name} is not JSON: {error}") from None
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise ConfigurationError(f"{file.name} must hold a list of objects")
    return list(found)


def _row_of_entry(number: int, given: dict[str, Any]) -> dict[str, Any]:
    """A row of ``model_prices`` from one entry of a file.

    Raises:
        ConfigurationError: If a field is not known or does not fit.
    """
    for name, value in given.items():
        if name not in FIELDS:
            raise ConfigurationError(f"price {number}: there is no field {name}; there are {', '.join(FIELDS)}")
        if not (value is None or isinstance(value, str) or name == "wildcard"):
            raise ConfigurationError(f"price {number}: {name} must be a text or a number")
    entry: dict[str, Any] = {name: value for name, value in given.items() if value not in ("", None)}
    if "model" not in entry:
        raise ConfigurationError(f"price {number}: the model is missing")
    if "from" in entry:
        entry["effective_from"] = entry.pop("from")
    try:
        for name in RATES:
            if name in entry:
                entry[name] = Dollars().convert(entry[name], None, None)
        if "effective_from" in entry:
            entry["effective_from"] = Time().convert(entry["effective_from"], None, None)
    except click.BadParameter as error:
        raise ConfigurationError(f"price {number}: {error.message}") from None
    entry["is_pattern"] = str(entry.pop("wildcard", "")).lower() in ("1", "true", "yes")
    return price_row(entry)
