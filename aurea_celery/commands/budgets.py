"""``aurea budget ...``. Celery imports this at every call: heavy imports wait for a command."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aurea_celery.budget import ON_EXCEED, PERIODS, dollars
from aurea_celery.commands.base import Command, Dollars, connected, echo_json, is_storable, json_option
from aurea_celery.commands.figures import percent
from aurea_celery.errors import AureaError, ConfigurationError
from aurea_celery.events import TEXT_MAX_CHARACTERS

if TYPE_CHECKING:
    from aurea_celery.storage.budgets import BudgetKey, BudgetStanding

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def budget() -> None:
    """What jobs may cost, and what happens when that is used up."""


def _which(function: F) -> F:
    """The options that say which budget."""
    for option in (
        click.option("--period", type=click.Choice(PERIODS), default="day", show_default=True, help="job: its life."),
        click.option("--task", default="", help="Of these tasks: a name, or a pattern with *.  [default: all]"),
        click.option("--job", default="", help="Its name, or a pattern with *, for each.  [default: all together]"),
    ):
        function = option(function)
    return function


@budget.command("set", cls=Command)
@_which
@click.option("--usd", type=Dollars(), required=True, help="What may be spent in the period.")
@click.option("--on-exceed", type=click.Choice(ON_EXCEED), help="What happens then.  [default: as before; else warn]")
@click.option("--zone", "time_zone", help="Whose days and months: Europe/Berlin.  [default: as before; else UTC]")
@click.pass_context
def set_(context: click.Context, /, job: str, task: str, period: str, usd: Decimal, **changes: Any) -> None:
    """Set a budget, or change one; what was spent in the period already counts."""
    key = _key(job, task, period)
    if changes["time_zone"] is not None and changes["time_zone"] not in zoneinfo.available_timezones():
        raise ConfigurationError(f"{changes['time_zone']} is no time zone; write one such as Europe/Berlin")
    from aurea_celery.storage.budgets import list_budgets, set_budget  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        set_budget(connection, key, usd, **changes)
        standing = next(one for one in list_budgets(connection) if one.key == key)
    click.echo(f"Set: {_line(standing)}")


@budget.command("list", cls=Command)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List all budgets, and what is spent of them in the period that runs now."""
    from aurea_celery.storage.budgets import list_budgets  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        standings = list_budgets(connection)
    if as_json:
        echo_json({"budgets": standings})
        return
    for standing in standings:
        click.echo(_line(standing))
    if not standings:
        click.echo("No budgets. Set one: aurea budget set --job JOB --usd USD --on-exceed block")


@budget.command("remove", cls=Command)
@_which
@click.pass_context
def remove(context: click.Context, job: str, task: str, period: str) -> None:
    """Remove a budget."""
    key = _key(job, task, period)
    from aurea_celery.storage.budgets import remove_budget  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        is_removed = remove_budget(connection, key)
    if not is_removed:
        raise AureaError(f"there is no such budget: {_name(key)}; see them: aurea budget list")
    click.echo(f"Removed the budget of {_name(key)}.")


def _key(job: str, task: str, period: str) -> BudgetKey:
    """Which budget is meant.

    Raises:
        ConfigurationError: If there cannot be such a one.
    """
    if period == "job" and not job:
        raise ConfigurationError("a budget over the life of a job needs the job; say which: --job JOB, or --job '*'")
    if max(len(job), len(task)) > TEXT_MAX_CHARACTERS:
        raise ConfigurationError(f"a job or task has at most {TEXT_MAX_CHARACTERS} characters")
    if not is_storable(job + task):
        raise ConfigurationError("a job or task must be valid UTF-8")
    from aurea_celery.storage.budgets import BudgetKey  # noqa: PLC0415 - heavy

    return BudgetKey(job=job, task=task, period=period)  # type: ignore[arg-type]  # one of the choices


def _name(key: BudgetKey) -> str:
    whose = (f"each job {key.job}" if "*" in key.job else f"job {key.job}") if key.job else "all jobs together"
    tasks = f" on tasks {key.task}" if key.task else ""
    return f"{whose}{tasks}, {'over its life' if key.period == 'job' else f'per {key.period}'}"


def _line(standing: BudgetStanding) -> str:
    zone = "" if standing.key.period == "job" else f" ({standing.time_zone})"
    line = f"{_name(standing.key)}{zone}: {dollars(standing.usd)}, then {standing.on_exceed}; {_spent(standing)}"
    if standing.unpriced_tokens:
        share = percent(standing.unpriced_tokens, standing.total_tokens)
        line += f"; not counted, for want of a price: {standing.unpriced_tokens:,} tokens ({share} of all)"
    return line


def _spent(standing: BudgetStanding) -> str:
    if "*" in standing.key.job:
        jobs = f"{standing.jobs:,} job{'' if standing.jobs == 1 else 's'}"
        return f"spent {dollars(standing.spent_usd)} in {jobs}, used up in {standing.used_up:,}"
    return f"spent {dollars(standing.spent_usd)}{', used up' if standing.used_up else ''}"
