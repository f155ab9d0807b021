"""``aurea export``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

import sys
from typing import Any

import click

from aurea_celery.commands.base import Command, Since, connected
from aurea_celery.events import STATUSES


class Tag(click.ParamType):  # type: ignore[type-arg]  # generic in click 8.2 and later only
    """A tag's name and value."""

    name = "NAME:VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Called by click."""
        name, colon, of_it = value.partition(":")
        if not name or not colon:
            self.fail(f"{value!r} is not NAME:VALUE", param, ctx)
        return name, of_it


@click.command("export", cls=Command)
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True)
@click.option("--since", type=Since(), help="Of what ended since a time, or 30m, 12h, 7d, 2w ago; else ever.")
@click.option("--until", type=Since(), help="Of what ended before it.")
@click.option("--job", "jobs", multiple=True, metavar="ID", help="Of this job; may be repeated, as all that follow.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Of this task.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Of this model.")
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Of this provider.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="With this status.")
@click.option("--tag", "tags", multiple=True, type=Tag(), help="With this tag; with all of them if repeated.")
@click.pass_context
def export(context: click.Context, /, kind: str, **selection: Any) -> None:
    """Write all rows to the standard output, oldest first, however many there are: aurea export > metrics.csv."""
    from aurea_celery.storage.export import read_pieces  # noqa: PLC0415 - heavy
    from aurea_celery.storage.formats import FORMATS  # noqa: PLC0415 - heavy
    from aurea_celery.storage.selection import Selection  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        for piece in FORMATS[kind].encode(read_pieces(connection, Selection(**selection))):
            sys.stdout.buffer.write(piece)
