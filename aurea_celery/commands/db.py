"""``aurea db``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

import sys

import click

from aurea_celery.commands.base import Command, connected, database_url, echo_json, json_option
from aurea_celery.errors import ConfigurationError

PASSWORD = "AUREA_READER_PASSWORD"  # noqa: S105 - the name of the variable


@click.group()
def db() -> None:
    """The database: its tables, partitions, sums, and who may read them."""


@db.command("upgrade", cls=Command)
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Create or upgrade the tables of DATABASE_URL; safe to repeat."""
    from aurea_celery.models import upgrade_database  # noqa: PLC0415 - heavy
    from aurea_celery.storage.database import parse_url  # noqa: PLC0415 - heavy
    from aurea_celery.storage.pulse import counted  # noqa: PLC0415 - heavy
    from aurea_celery.storage.reasons import place  # noqa: PLC0415 - heavy

    url = database_url(context)
    done = upgrade_database(url)
    where = f"in the schema {done.schema} of the database {done.database} at {place(parse_url(url))}"
    made = f"Made {counted(done.tables, 'table', 'tables')}" if done.tables else "No table was missing"
    click.echo(f"{made} {where}. The schema is up to date.")


@db.command("check", cls=Command)
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Say whether tables, partitions and sums are as they should be; reads every row.

    Status 0: they are. 1: something is not, or the database cannot be asked. 2: a setting is wrong.
    """
    from msgspec.structs import asdict  # noqa: PLC0415 - only commands need it

    from aurea_celery.storage.condition import condition  # noqa: PLC0415 - heavy

    found = condition(database_url(context))
    if as_json:
        echo_json({"is_good": found.is_good, **asdict(found)})
    else:
        click.echo("\n".join(found.sentences()))
    context.exit(0 if found.is_good else 1)


@db.command("maintain", cls=Command)
@json_option
@click.pass_context
def maintain(context: click.Context, as_json: bool) -> None:
    """Make partitions ahead, move rows out of the default one, sum hours that are over; safe beside running writers."""
    from aurea_celery.storage import upkeep  # noqa: PLC0415 - heavy
    from aurea_celery.storage.condition import wrong_clocks  # noqa: PLC0415 - heavy
    from aurea_celery.storage.pulse import counted  # noqa: PLC0415 - heavy

    done = upkeep.maintain(database_url(context))
    if as_json:
        echo_json(done)
        return
    click.echo(f"Made {len(done.made):,} partitions ahead." if done.made else "Partitions were made ahead already.")
    for partition, rows in done.moved.items():
        click.echo(f"Moved {counted(rows, 'row', 'rows')} into {partition}.")
    held = counted(done.left, "row", "rows")
    left = f"holds {held} of {wrong_clocks(done.left)}" if done.left else "is empty"
    click.echo(f"The default partition {left}.")
    condensed = counted(done.condensed, "hour that is over is", "hours that are over are")
    click.echo(f"{condensed} condensed." if done.condensed else "Every hour that is over was condensed already.")


@db.command("rebuild", cls=Command)
@click.pass_context
def rebuild(context: click.Context) -> None:
    """Make every sum anew from its rows, if aurea check found a wrong one; writers wait meanwhile.

    Sums of rows that retention has dropped are kept: per job they are added, per quarter of an hour they stay.
    """
    from aurea_celery.storage import upkeep  # noqa: PLC0415 - heavy

    upkeep.rebuild(database_url(context))
    click.echo("Every sum is made anew from its rows.")


@db.command("reader", cls=Command)
@click.option("--role", default="aurea_reader", show_default=True, help="The role's name.")
@click.pass_context
def reader(context: click.Context, role: str) -> None:
    """Create or update a role that reads these tables and can do nothing else, for Grafana.

    Its password comes from AUREA_READER_PASSWORD, or is asked for on a terminal.
    """
    from aurea_celery.storage.reader import make_reader  # noqa: PLC0415 - heavy

    password = _password()
    with connected(context) as connection:
        is_new = make_reader(connection, role, password)
    click.echo(f"The role {role} {'is made' if is_new else 'is updated'}; it can read, and nothing else.")


def _password() -> str:
    from aurea_celery.settings import read_environment  # noqa: PLC0415 - only commands need it

    password = read_environment().get(PASSWORD, "")
    if not password and sys.stdin.isatty():
        password = click.prompt("Password of the role", hide_input=True, confirmation_prompt=True)
    if not password or "\0" in password:
        raise ConfigurationError(f"the role needs a password; set {PASSWORD}, or run this on a terminal")
    return password
