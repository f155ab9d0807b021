"""``aurea prices ...`` and ``aurea reprice``. Celery imports this at every call: heavy imports wait for a command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aurea_celery.commands.base import Command, Dollars, Time, connected, database_url, echo_json, json_option
from aurea_celery.commands.figures import percent
from aurea_celery.commands.price_rows import ALWAYS, RATES, price_line, price_row, read_prices
from aurea_celery.errors import AureaError, ConfigurationError

if TYPE_CHECKING:
    from aurea_celery.price_lists import ListPrices
    from aurea_celery.pricing.price import Price
    from aurea_celery.storage.reprice import Repricing

PROGRESS_ROWS = 50_000
PIECE_ROWS = 1000


@click.group()
def prices() -> None:
    """What models cost: your own prices, and the list prices."""


@prices.command("list", cls=Command)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List your own prices, in USD per million tokens, and say how old the list prices are."""
    from aurea_celery.price_lists import list_prices  # noqa: PLC0415 - heavy
    from aurea_celery.storage.prices import edition_without_data, read_lists  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        own = read_lists(connection).own
        listed = list_prices(edition_without_data(connection))
    if as_json:
        echo_json({"prices": [dict(row) for row in own], "list_prices": _listed(listed)})
        return
    for row in own:
        click.echo(price_line(row))
    if not own:
        click.echo("No prices of your own; list prices apply. Set one: aurea prices set MODEL --input USD --output USD")
    click.echo(f"List prices: {listed}")


@prices.command("set", cls=Command)
@click.argument("model")
@click.option("--provider", default="", help="Only where this provider sells it.")
@click.option("--from", "effective_from", type=Time(), default=ALWAYS, help="From this day or time on; else always.")
@click.option("--same-as", help="It costs what this model costs: for a deployment's name.")
@click.option("--free", is_flag=True, help="It costs nothing: for a model of your own.")
@click.option("--wildcard", is_flag=True, help="The * in MODEL stands for anything.")
@click.option("--note", help="Why, for whoever reads it later.")
@click.pass_context
def set_(context: click.Context, /, free: bool, wildcard: bool, **given: Any) -> None:
    """Set what MODEL costs, in USD per million tokens; rows that are there already change with `aurea reprice`."""
    if free and any(given[rate] is not None for rate in RATES):
        raise ConfigurationError(f"{given['model']}: say either --free or rates, and not both")
    if free:
        given |= dict.fromkeys(("input", "output", "total"), Decimal(0))
    row = price_row(given | {"is_pattern": wildcard})
    from aurea_celery.storage.prices import set_prices  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        set_prices(connection, [row])
    click.echo(f"Set: {price_line(row)}")


for _rate in reversed(RATES):
    click.option(f"--{_rate.replace('_', '-')}", _rate, type=Dollars(), help="USD per million tokens.")(set_)


@prices.command("remove", cls=Command)
@click.argument("model")
@click.option("--provider", help="Only this provider's.")
@click.option("--from", "effective_from", type=Time(), help="Only the price from this time on.")
@click.pass_context
def remove(context: click.Context, model: str, provider: str | None, effective_from: datetime | None) -> None:
    """Remove your own prices of MODEL; list prices apply again."""
    from aurea_celery.storage.prices import remove_prices  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        count = remove_prices(connection, model, provider, effective_from)
    if not count:
        raise AureaError(f"there is no price of your own for {model}")
    click.echo(f"Removed {count} of your own prices of {model}.")


@prices.command("import", cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def import_(context: click.Context, file: Path) -> None:
    """Set the prices in FILE, all or none: JSON, or CSV with a line of names (model, input, output, from, ...)."""
    from aurea_celery.storage.prices import set_prices  # noqa: PLC0415 - heavy

    rows = read_prices(file)
    with connected(context) as connection:
        set_prices(connection, rows)
    click.echo(f"Set {len(rows):,} price{'' if len(rows) == 1 else 's'} of your own.")


@prices.command("check", cls=Command)
@click.argument("model")
@click.option("--provider", help="Who sells it, as the rows say: openai, aws.bedrock, ...")
@click.option("--service-tier", help="As the rows say: batch, flex, priority, ...")
@click.option("--at", type=Time(), help="At this time; else now.")
@json_option
@click.pass_context
def check(context: click.Context, /, model: str, at: datetime | None, as_json: bool, **asked: Any) -> None:
    """Say what MODEL costs, and which list says so; status 1 if nobody knows."""
    from aurea_celery.events import ModelCall, Usage  # noqa: PLC0415 - only commands need it
    from aurea_celery.price_lists import list_prices, pricing_of  # noqa: PLC0415 - heavy
    from aurea_celery.storage.prices import edition_without_data, read_lists  # noqa: PLC0415 - heavy

    with connected(context) as connection:
        book = pricing_of(read_lists(connection))
        listed = list_prices(edition_without_data(connection))
    when = at or datetime.now(UTC)
    usages = (Usage(input_tokens=1_000_000, output_tokens=0), Usage(total_tokens=1_000_000))
    answers = [book.find(ModelCall(usage=usage, model=model, **asked), when) for usage in usages]
    found = {answer.price.version: answer.price for answer in answers if answer.price}.values()
    if as_json:
        echo_json({"model": model, **asked, "prices": [_price(one) for one in found], "list_prices": _listed(listed)})
    else:
        for price in found:
            click.echo(f"{price.source}: {price.version}")
            click.echo(f"  USD per million tokens: {price.unit_prices}")
        click.echo(f"List prices: {listed}")
    if not found:
        is_told = asked["provider"] or book.catalogue.price(model, None, None, when) is not None
        sellers = () if is_told else book.catalogue.sellers(model)
        if sellers:
            raise AureaError(
                f"{model}: its price depends on who sells it; say it with --provider: {', '.join(sellers)}"
            )
        raise AureaError(f"{model}: {answers[0].problem}; set one: aurea prices set {model} --input USD --output USD")


def _price(price: Price) -> dict[str, Any]:
    return {"source": price.source, "version": price.version, "usd_per_million_tokens": price.rates}


def _listed(listed: ListPrices) -> dict[str, Any]:
    return {"edition": listed.edition, "age_days": listed.age_days}


@prices.command("refresh", cls=Command)
@click.option("--url", help="Where to fetch the list from; else where genai-prices publishes it.")
@click.pass_context
def refresh(context: click.Context, url: str | None) -> None:
    """Fetch the newest list prices for all writers, without installing anything."""
    from aurea_celery.price_lists import fetch_edition  # noqa: PLC0415 - heavy
    from aurea_celery.storage.prices import keep_edition  # noqa: PLC0415 - heavy

    edition = fetch_edition(url)
    with connected(context) as connection:
        keep_edition(connection, edition)
    click.echo(f"Writers use {edition.edition} within some seconds.")


@click.command("reprice", cls=Command)
@click.option("--from", "since", type=Time(), help="Rows from this time on, or from 30m, 12h, 7d, 2w ago on.")
@click.option("--to", "until", type=Time(), help="Rows before this time.")
@click.option("--model", help="Rows of this model only.")
@click.option("--job", "job_id", help="Rows of this job only.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@json_option
@click.pass_context
def reprice(context: click.Context, /, dry_run: bool, as_json: bool, **selected: Any) -> None:
    """Price rows again by today's lists, each at its own time; safe beside writers, safe to interrupt and repeat."""
    from msgspec.structs import asdict  # noqa: PLC0415 - only commands need it

    from aurea_celery.price_lists import pricing_of  # noqa: PLC0415 - heavy
    from aurea_celery.storage.reprice import SETTLE_SECONDS, Selection  # noqa: PLC0415 - heavy
    from aurea_celery.storage.reprice import reprice as run  # noqa: PLC0415 - heavy

    settle_seconds = 0 if dry_run else SETTLE_SECONDS
    if settle_seconds:
        click.echo(f"Waiting {settle_seconds:.0f} seconds, until every writer uses today's prices ...", err=True)
    found = run(
        database_url(context),
        pricing_of,
        Selection(**selected),
        dry_run=dry_run,
        settle_seconds=settle_seconds,
        progress=_show,
    )
    if as_json:
        echo_json({"dry_run": dry_run, **asdict(found), "difference_usd": found.difference_usd})
    else:
        click.echo(_report(found, dry_run=dry_run))


def _show(found: Repricing) -> None:
    if found.rows >= PROGRESS_ROWS and found.rows % PROGRESS_ROWS < PIECE_ROWS:
        click.echo(f"  {found.rows:,} rows looked at, until {found.reached:%Y-%m-%d %H:%M}", err=True)


def _report(found: Repricing, *, dry_run: bool) -> str:
    if not found.rows:
        return "No calls of models are selected, so that nothing changes."
    would = "would change" if dry_run else "changed"
    sign = "+" if found.difference_usd >= 0 else "-"
    sentence = (
        f"{found.changed:,} of {found.rows:,} rows {would}: from {_usd(found.old_usd)} to {_usd(found.new_usd)}"
        f" ({sign}{_usd(abs(found.difference_usd))})"
    )
    return "; ".join([sentence, *_without_price(found)])


def _without_price(found: Repricing) -> Iterator[str]:
    if found.newly_priced:
        yield f"{found.newly_priced:,} had no price before"
    if found.newly_unpriced:
        yield f"{found.newly_unpriced:,} had a price before and have none now"
    if found.unpriced_tokens:
        share = percent(found.unpriced_tokens, found.tokens)
        yield f"{share} of the tokens ({found.unpriced_tokens:,}) have no price"


def _usd(value: Decimal) -> str:
    """All its digits, without trailing zeros."""
    text = f"{value:f}"
    return f"${text.rstrip('0').rstrip('.') if '.' in text else text}"
