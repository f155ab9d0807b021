"""``aurea report``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

from typing import Any

import click

from aurea_celery.commands.base import Command, Since, connected
from aurea_celery.commands.figures import printable
from aurea_celery.errors import AureaError

BY = ("job", "task", "model")


@click.command("report", cls=Command)
@click.option("--job", "job_id", metavar="ID", help="Of this job only.")
@click.option("--since", type=Since(), help="Of what ended since a time, or 30m, 12h, 7d, 2w ago; else ever.")
@click.option(
    "--by", type=click.Choice(["job", "task", "model"]), default="task", show_default=True, help="A line each."
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most expensive lines only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def report(context: click.Context, /, as_json: bool, **scope: Any) -> None:
    """Say what was spent, on what, how much of it came to nothing, and how much nobody knows a price for."""
    if scope["job_id"] is not None and scope["since"] is not None:
        raise click.UsageError("--job and --since cannot be combined: a job's sums are those of its whole life")
    from aurea_celery.commands import report_text  # noqa: PLC0415 - heavy
    from aurea_celery.storage.report import Scope, read_report  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        found = read_report(connection, Scope(**scope))
    if found.job_id is not None and not found.spent.count:
        raise AureaError(f"nothing is known of job {printable(found.job_id)}; check its id, or wait for the writer")
    click.echo(report_text.as_json(found) if as_json else report_text.as_text(found))
