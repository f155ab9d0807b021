"""What every command has in common."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from aurea_celery.errors import AureaError, ConfigurationError, UsageError
from aurea_celery.events import check_cost

if TYPE_CHECKING:
    import sqlalchemy as sa

    from aurea_celery.settings import Settings

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
YEARS = (1970, 9998)
LONGEST_AGE = timedelta(days=36_500)

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

F = TypeVar("F", bound=Callable[..., Any])


def length_of_time(text: str) -> timedelta | None:
    """What ``30m``, ``12h``, ``7d`` or ``2w`` say; None for other texts."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    return int(found[1]) * UNITS[found[2]] if found else None


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """End in one sentence where the output cannot be written.

    Raises:
        SystemExit: Instead of the error of the standard output.
    """
    try:
        yield
    except OSError as error:  # of a closed pipe click takes care
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        _discard_output()
        reason = os.strerror(error.errno).lower()
        with contextlib.suppress(OSError):  # what it says may be on the same disk
            click.echo(f"aurea: cannot write the output: {reason}; what was written is incomplete", err=True)
        raise SystemExit(1) from None


def _discard_output() -> None:
    """Keep Python from writing at its end what it could not write now."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def standard_output() -> BinaryIO:
    """The standard output, for bytes.

    Raises:
        AureaError: If there is none.
    """
    if sys.stdout is None:
        raise AureaError("there is no standard output to write to; redirect it to a file")
    return sys.stdout.buffer


def json_option(command: F) -> F:
    """Add the option to print one JSON object."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def echo_json(value: Any) -> None:
    """Print a value as JSON; decimals are exact numbers."""
    import msgspec  # noqa: PLC0415 - only commands need it

    click.echo(msgspec.json.Encoder(decimal_format="number").encode(value))


class Group(click.Group):
    """The group of all commands."""

    def invoke(self, context: click.Context) -> Any:
        """Called by click, for every command and its help."""
        with checked_output():
            return super().invoke(context)


class Command(click.Command):
    """A command that says an error of ours in one sentence: status 2 for configuration, 1 for the rest."""

    def invoke(self, context: click.Context) -> Any:
        """Called by click."""
        try:
            return super().invoke(context)
        except AureaError as error:
            click.echo(f"aurea: {error}", err=True)
            context.exit(2 if isinstance(error, ConfigurationError) else 1)


def database_url(context: click.Context) -> str:
    """The database that the settings name.

    Raises:
        ConfigurationError: If nobody names one.
    """
    from aurea_celery.settings import require_database_url  # noqa: PLC0415 - only commands need it

    return require_database_url(settings_for(context))


def settings_for(context: click.Context) -> Settings:
    """The settings of the app, if there is one, else those of the environment.

    Raises:
        ConfigurationError: If one is unknown or does not fit.
    """
    from aurea_celery.settings import Settings  # noqa: PLC0415 - only commands need it
    from aurea_celery.writer import settings_of  # noqa: PLC0415 - only commands need it

    app = getattr(context.obj, "app", None)
    return settings_of(app) if app else Settings.read()


def sources_for(context: click.Context) -> dict[str, str]:
    """Return where each of these settings is taken from, in words."""
    from aurea_celery.settings import sources  # noqa: PLC0415 - only commands need it
    from aurea_celery.writer import sources_of  # noqa: PLC0415 - only commands need it

    app = getattr(context.obj, "app", None)
    return sources_of(app) if app else sources()


@contextlib.contextmanager
def connected(context: click.Context) -> Iterator[sa.Connection]:
    """A transaction on a checked schema.

    Raises:
        ConfigurationError: If the database refuses a value, with its own sentence about it.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - heavy

    from aurea_celery.storage.database import check_schema, create_engine, translating  # noqa: PLC0415 - heavy

    url = database_url(context)
    engine = create_engine(url)
    try:
        with translating(url), engine.begin() as connection:
            check_schema(connection)
            yield connection
    except DBAPIError as error:  # what translating leaves is about the data
        said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or type(error.orig).__name__
        raise ConfigurationError(f"the database refuses that: {said}") from None
    finally:
        engine.dispose()


def is_storable(text: str) -> bool:
    """Whether PostgreSQL takes a text as it is: a command line and a file may hold any bytes."""
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


class Dollars(click.ParamType):  # type: ignore[type-arg]  # generic in click 8.2 and later only
    """A number of USD, exactly as it is written; what can be a cost can be a price or a budget."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Called by click."""
        try:
            usd = Decimal(value)
            check_cost(usd)
        except (InvalidOperation, UsageError):
            self.fail(f"{value!r} is not a number from 0 to 10**15", param, ctx)
        return usd


class Time(click.ParamType):  # type: ignore[type-arg]  # the same
    """A day or a time in ISO 8601, without a zone in UTC; or how long ago it is: 30m, 12h, 7d, 2w."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Called by click."""
        if isinstance(value, datetime):
            return value
        ago = length_of_time(value)
        try:
            at = iso_time(value) if ago is None else datetime.now(UTC) - ago
        except OverflowError:
            self.fail(f"{value!r} is before the calendar begins", param, ctx)
        except ValueError:
            self.fail(
                f"{value!r} is neither a day (2026-11-24) nor a time (2026-11-24T09:00:00Z) nor how long ago (7d, 24h)",
                param,
                ctx,
            )
        if not YEARS[0] <= at.year <= YEARS[1]:
            self.fail(f"{value!r} is not in the years {YEARS[0]} to {YEARS[1]}", param, ctx)
        return at


def iso_time(text: str) -> datetime:
    """A day or a time in ISO 8601, in UTC.

    Raises:
        ValueError: If it is none.
        OverflowError: If it is none in UTC.
    """
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


class Age(click.ParamType):  # type: ignore[type-arg]  # the same
    """A length of time: 12h, 90d, 26w."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Called by click."""
        age = value if isinstance(value, timedelta) else length_of_time(value)
        if age is None or age > LONGEST_AGE:
            self.fail(f"{value!r} is no length of time up to a hundred years, such as 90d or 26w", param, ctx)
        return age
