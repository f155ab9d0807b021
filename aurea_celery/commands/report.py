"""``aurea report``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

from typing import Any

import click

from aurea_celery.commands.base import Command, connected, json_option
from aurea_celery.commands.figures import printable
from aurea_celery.commands.filters import Name, filter_options
from aurea_celery.errors import AureaError

BY = ("job", "task", "model", "status", "error")


@click.command("report", cls=Command)
@click.option("--job", "job_id", type=Name(), metavar="ID", help="Of this job only, in its whole life.")
@filter_options
@click.option("--by", type=click.Choice(BY), default="task", show_default=True, help="A line each.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most expensive lines only.")
@json_option
@click.pass_context
def report(context: click.Context, /, as_json: bool, **scope: Any) -> None:
    """Say what was spent, on what, how much of it came to nothing, and how much nobody knows a price for."""
    for time in ("since", "until"):
        if scope["job_id"] is not None and scope[time] is not None:
            raise click.UsageError(f"--job and --{time} cannot be combined: a job's sums are those of its whole life")
    from aurea_celery.commands import report_text  # noqa: PLC0415 - heavy
    from aurea_celery.storage.report import Scope, read_report  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        found = read_report(connection, Scope(**scope))
    if found.job_id is not None and not found.is_filtered and not found.spent.count:
        raise AureaError(f"nothing is known of job {printable(found.job_id)}; check its id, or wait for the writer")
    click.echo(report_text.as_json(found) if as_json else report_text.as_text(found))
