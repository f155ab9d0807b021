"""Prices as a person writes them: on a command line, or in a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from aurea_celery.commands.base import Dollars, Time
from aurea_celery.errors import ConfigurationError

RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio", "total")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def price_row(given: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``model_prices``.

    Raises:
        ConfigurationError: If it does not say one price.
    """
    rates = {rate: given.get(rate) for rate in RATES}
    has_rates = any(value is not None for value in rates.values())
    if has_rates == (given.get("same_as") is not None):
        raise ConfigurationError(f"{given['model']}: say either rates or the model it costs the same as, and not both")
    if ("*" in given["model"]) != bool(given.get("is_pattern")):
        raise ConfigurationError(f"{given['model']}: a * means anything only with --wildcard, which needs one")
    return {
        "model": given["model"],
        "provider": given.get("provider") or "",
        "effective_from": given.get("effective_from") or ALWAYS,
        "is_pattern": bool(given.get("is_pattern")),
        "same_as": given.get("same_as"),
        "note": given.get("note"),
        **{f"{rate}_usd_per_million": value for rate, value in rates.items()},
    }


def price_line(row: Mapping[str, Any]) -> str:
    """A row of ``model_prices`` for a person."""
    seller = f" of {row['provider']}" if row["provider"] else ""
    since = (
        "" if row["effective_from"] <= ALWAYS else f" from {row['effective_from'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )
    if row["same_as"]:
        return f"{row['model']}{seller}{since}: the same as {row['same_as']}"
    rates = ((rate, row[f"{rate}_usd_per_million"]) for rate in RATES)
    said = ", ".join(f"{rate.replace('_', ' ')} ${usd.normalize():f}" for rate, usd in rates if usd is not None)
    return f"{row['model']}{seller}{since}: {said}"


def read_prices(file: Path) -> list[dict[str, Any]]:
    """The prices in a file, JSON or CSV, as rows of ``model_prices``.

    Raises:
        ConfigurationError: If one of them is not a price.
    """
    return [_row_of_entry(number, one) for number, one in enumerate(_entries(file), 1)]


def _entries(file: Path) -> list[dict[str, Any]]:
    """The prices of a file, each by the names of its fields.

    Raises:
        ConfigurationError: If it is neither JSON nor CSV.
    """
    text = file.read_text("utf-8-sig")
    if not text.lstrip().startswith("["):
        return [dict(one) for one in csv.DictReader(text.splitlines())]
    try:
        found: Any = json.loads(text, parse_float=str, parse_int=str)
    except ValueError as error:
        raise ConfigurationError(f"{file.name} is not JSON: {error}") from None
    if not all(isinstance(one, dict) for one in found):
        raise ConfigurationError(f"{file.name} must hold a list of objects")
    return list(found)


def _row_of_entry(number: int, given: dict[str, Any]) -> dict[str, Any]:
    """A row of ``model_prices`` from one entry of a file.

    Raises:
        ConfigurationError: If a field is not known or does not fit.
    """
    entry = {
        ("effective_from" if name == "from" else name): value
        for name, value in given.items()
        if value not in ("", None)
    }
    unknown = entry.keys() - {"model", "provider", "effective_from", "same_as", "note", "wildcard", *RATES}
    if unknown:
        raise ConfigurationError(f"price {number}: there is no field {min(map(str, unknown))}")
    if "model" not in entry:
        raise ConfigurationError(f"price {number}: the model is missing")
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
