"""``aurea prune``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from aurea_celery.commands.base import Age, Command, database_url, echo_json, json_option, settings_for
from aurea_celery.commands.figures import bytes_text

if TYPE_CHECKING:
    from aurea_celery.storage.upkeep import Pruning


@click.command("prune", cls=Command)
@click.option("--older-than", type=Age(), help="Such as 90d or 26w.  [default: the setting retention_days]")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
@click.pass_context
def prune(context: click.Context, older_than: timedelta | None, dry_run: bool, as_json: bool) -> None:
    """Drop old rows of metrics, in whole weeks, and keep their sums; safe beside running writers.

    The week that the cut falls into stays, and so do the rows of the running month, which budgets count.
    """
    if older_than is None:
        older_than = timedelta(days=settings_for(context).retention_days)
    if not older_than:
        raise click.UsageError("say how old: --older-than 90d, or set AUREA_RETENTION_DAYS")
    from aurea_celery.storage import upkeep  # noqa: PLC0415 - heavy

    url = database_url(context)
    found = upkeep.prune(url, older_than, dry_run=dry_run)
    if as_json:
        totals = {"rows": found.rows, "bytes": found.bytes}
        echo_json({"dry_run": dry_run, "before": found.before, **totals, "dropped": found.dropped})
    else:
        click.echo("\n".join(_described(found, dry_run=dry_run)))
    if not dry_run:
        upkeep.maintain(url)


def _described(found: Pruning, *, dry_run: bool) -> list[str]:
    if not found.dropped:
        return [f"There is nothing from before {found.before:%Y-%m-%d} to drop."]
    done = "Would drop" if dry_run else "Dropped"
    what = "row" if found.rows == 1 else "rows"
    lines = [
        f"{done} {found.rows:,} {what} from before {found.before:%Y-%m-%d}, {bytes_text(found.bytes)}; their sums stay."
    ]
    lines.append(f"{'partition':<18}{'rows':>14}{'size':>12}  from")
    for one in found.dropped:
        times = f"{one.first_at:%Y-%m-%d %H:%M} to {one.last_at:%Y-%m-%d %H:%M}" if one.first_at else ""
        lines.append(f"{one.partition:<18}{one.rows:>14,}{bytes_text(one.bytes):>12}  {times}".rstrip())
    return lines
