"""Commands: ``aurea ...`` on its own, and ``celery -A yourapp aurea ...`` with an app.

Celery imports this module at every ``celery`` call: nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from aurea_celery._version import __version__
from aurea_celery.commands.base import (
    Command,
    Group,
    checked_output,
    echo_json,
    json_option,
    settings_for,
)
from aurea_celery.commands.budgets import budget
from aurea_celery.commands.db import db
from aurea_celery.commands.export import export
from aurea_celery.commands.prices import prices, reprice
from aurea_celery.commands.prune import prune
from aurea_celery.commands.report import report
from aurea_celery.commands.settings import settings as settings_command
from aurea_celery.errors import ConfigurationError
from aurea_celery.settings import TRUE_WORDS, read_environment, require_database_url

if TYPE_CHECKING:
    from celery import Celery

    from aurea_celery.settings import Settings

if read_environment().get("AUREA_AUTOINSTALL", "").strip().lower() in TRUE_WORDS:
    from aurea_celery import autoinstall  # noqa: F401 - its import installs


@click.group(cls=Group)
@click.version_option(__version__, prog_name="aurea")
def aurea() -> None:
    """Tokens, money and latency of every Celery job, in your own Postgres."""


@aurea.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: PORT, or 4000]")
def serve(host: str, port: int | None) -> None:
    """Serve the HTTP API."""
    from aurea_api.server import serve as run  # noqa: PLC0415 - heavy

    run(host=host, port=port)


@aurea.command(cls=Command)
@click.option(
    "--scope", type=click.Choice(["read", "write"]), default="read", show_default=True, help="write may read."
)
@json_option
def token(scope: str, as_json: bool) -> None:
    """Make a token for the HTTP API."""
    from aurea_api.tokens import hashed_entry, new_token  # noqa: PLC0415 - heavy

    made = new_token()
    entry = hashed_entry(scope, made)  # type: ignore[arg-type]  # one of the choices
    if as_json:
        echo_json({"scope": scope, "token": made, "entry": entry})
        return
    click.echo(f"Token, for whoever asks; it is shown this once:\n\n    {made}\n")
    click.echo(f"Entry of AUREA_API_TOKENS, where the API runs:\n\n    {entry}")


@aurea.command(cls=Command)
@click.option("--by-process", is_flag=True, help="Show the books of every process too.")
@click.option("--broker", metavar="URL", help="Look at this broker's queue, and at the outboxes for it on this host.")
@json_option
@click.pass_context
def check(context: click.Context, by_process: bool, broker: str | None, as_json: bool) -> None:
    """Say whether every execution is accounted for, and if not, where it is.

    Without an app (celery -A yourapp aurea check), --broker or AUREA_BROKER_URL, only the database is asked.

    Status 0: everything is accounted for. 1: something is missing, was dropped, or a sum is wrong; or the database
    cannot be asked. 2: a setting is wrong. 3: something is on its way. 4: nobody is writing.
    """
    from aurea_celery.check import facts, report  # noqa: PLC0415 - heavy

    app, settings = _app_and_settings(context, broker)
    found = facts.gather(require_database_url(settings), settings, app, every_process=by_process)
    click.echo(
        report.as_json(found, by_process=by_process) if as_json else report.as_text(found, by_process=by_process)
    )
    context.exit(report.exit_status(found))


def _app_and_settings(context: click.Context, broker: str | None) -> tuple[Celery | None, Settings]:
    """The way to the broker, if one is known, and the settings that go with it."""
    from celery import Celery  # noqa: PLC0415 - heavy

    app: Celery | None = getattr(context.obj, "app", None)
    settings = settings_for(context)
    settings = dataclasses.replace(settings, broker_url=broker or settings.broker_url)
    if app is None and settings.broker_url:
        app = Celery("aurea", broker=settings.broker_url, set_as_current=False)
    return app, settings


@aurea.command(cls=Command)
@click.option("-c", "--concurrency", type=click.IntRange(1), default=1, show_default=True, help="Writing processes.")
@click.option("-l", "--loglevel", default="INFO", show_default=True, help="Logging level.")
@click.pass_context
def writer(context: click.Context, concurrency: int, loglevel: str) -> None:
    """Start the worker that writes events to DATABASE_URL; needs celery -A yourapp."""
    app = getattr(context.obj, "app", None)
    if app is None:
        raise ConfigurationError("the writer needs your Celery app; run: celery -A yourapp aurea writer")
    from aurea_celery.writer_worker import run_worker  # noqa: PLC0415 - heavy

    context.exit(run_worker(app, concurrency=concurrency, loglevel=loglevel))


@aurea.command("writer-health", cls=Command)
@click.option("--pid", type=click.IntRange(1), help="Only the writer with this process id.")
@json_option
@click.pass_context
def writer_health(context: click.Context, pid: int | None, as_json: bool) -> None:
    """Say whether the writers of this machine, or of this container, work; for a health check.

    Only this user's writers are looked at, by the files that they write; neither broker nor database is asked.

    Status 0: all work. 1: one does not, or none runs.
    """
    from aurea_celery.writer_health import running_writers  # noqa: PLC0415 - only this command needs it

    writers = running_writers(pid)
    if as_json:
        echo_json({"writers": [one.as_dict() for one in writers]})
    else:
        for one in writers:
            click.echo(one.as_text())
    if not writers:
        click.echo("no such writer runs here as this user; start one: celery -A yourapp aurea writer", err=True)
    context.exit(0 if writers and all(one.is_well for one in writers) else 1)


aurea.add_command(budget)
aurea.add_command(db)
aurea.add_command(export)
aurea.add_command(prices)
aurea.add_command(prune)
aurea.add_command(reprice)
aurea.add_command(report)
aurea.add_command(settings_command)


def main() -> None:
    """The ``aurea`` console script."""
    with checked_output():
        sys.exit(aurea())


if __name__ == "__main__":
    main()
