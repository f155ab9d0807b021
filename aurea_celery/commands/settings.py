"""``aurea settings``. Celery imports this at every call: heavy imports wait for the command."""

from __future__ import annotations

from dataclasses import fields

import click

from aurea_celery.commands.base import Command, echo_json, json_option, settings_for, sources_for


@click.command("settings", cls=Command)
@json_option
@click.pass_context
def settings(context: click.Context, as_json: bool) -> None:
    """Show every setting, its value and where it comes from; passwords are not shown."""
    found, sources = _shown(context), sources_for(context)
    if as_json:
        echo_json({name: {"value": value, "from": sources[name]} for name, value in found.items()})
        return
    width = max(map(len, found.values()))
    lines = [(name, value, sources[name]) for name, value in found.items()]
    for name, value, source in [("setting", "value", "from"), *lines]:
        click.echo(f"{name:<34}{value:<{width}}  {source}")


def _shown(context: click.Context) -> dict[str, str]:
    """Return the values as texts, without what nobody may see."""
    from aurea_celery.storage.database import address_of  # noqa: PLC0415 - heavy

    values = settings_for(context)
    found = {
        one.name: str(getattr(values, one.name)) if one.repr or not getattr(values, one.name) else "(not shown)"
        for one in fields(values)
    }
    if values.database_url:
        found["database_url"] = address_of(values.database_url)
    return found
