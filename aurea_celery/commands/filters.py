"""The options that say which executions a command is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from aurea_celery.commands.base import Time, is_storable
from aurea_celery.events import STATUSES

F = TypeVar("F", bound=Callable[..., Any])


class Name(click.ParamType):  # type: ignore[type-arg]  # generic in click 8.2 and later only
    """A text that the database can hold."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Called by click."""
        if not is_storable(value):
            self.fail(f"{value!a} is not valid UTF-8", param, ctx)
        return str(value)


class Tag(Name):
    """A tag's name and value."""

    name = "NAME:VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Called by click."""
        name, colon, of_it = super().convert(value, param, ctx).partition(":")
        if not name or not colon:
            self.fail(f"{value!r} is not NAME:VALUE", param, ctx)
        return name, of_it


def filter_options(command: F) -> F:
    """Add the options for the fields of a selection, but for its jobs."""
    for option in (
        click.option("--tag", "tags", multiple=True, type=Tag(), help="With this tag; with all of them if repeated."),
        click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="With this status."),
        click.option("--provider", "providers", multiple=True, type=Name(), help="Of this provider."),
        click.option("--model", "models", multiple=True, type=Name(), help="Of this model."),
        click.option(
            "--task", "tasks", multiple=True, type=Name(), help="Of this task; may be repeated, as all below."
        ),
        click.option("--until", type=Time(), help="Of what ended before it."),
        click.option("--since", type=Time(), help="Of what ended since a time, or 30m, 12h, 7d, 2w ago; else ever."),
    ):
        command = option(command)
    return command
