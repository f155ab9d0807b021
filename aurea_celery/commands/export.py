"""``aurea export``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

from typing import Any

import click

from aurea_celery.commands.base import Command, connected, standard_output
from aurea_celery.commands.filters import Name, filter_options


@click.command("export", cls=Command)
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True)
@filter_options
@click.option("--job", "jobs", multiple=True, type=Name(), metavar="ID", help="Of this job; may be repeated.")
@click.pass_context
def export(context: click.Context, /, kind: str, **selection: Any) -> None:
    """Write all rows to the standard output, oldest first, however many there are: aurea export > metrics.csv."""
    from aurea_celery.storage.export import read_pieces  # noqa: PLC0415 - heavy
    from aurea_celery.storage.formats import FORMATS  # noqa: PLC0415 - heavy
    from aurea_celery.storage.selection import Selection  # noqa: PLC0415 - heavy

    output = standard_output()
    with connected(context) as connection:
        for piece in FORMATS[kind].encode(read_pieces(connection, Selection(**selection))):
            output.write(piece)
        output.flush()
