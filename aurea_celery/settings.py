"""Every setting: name, unit, default, one sentence.

A setting called ``flush_interval_seconds`` is read from, first that answers: the argument ``flush_interval_seconds=``
of :class:`aurea_celery.Aurea`, the environment variable ``AUREA_FLUSH_INTERVAL_SECONDS``, Celery's configuration
``aurea_flush_interval_seconds``, ``AUREA_FLUSH_INTERVAL_SECONDS`` in a ``.env`` file of the working directory, the
default. For ``database_url`` come ``DATABASE_URL`` in the environment and in ``.env`` before the default: a name that
others use too comes after all of ours. The order is the same for the plugin, the writer, the commands and the API
(``docs/decisions/0042-sources-of-settings.md``).
"""

from __future__ import annotations

import difflib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from aurea_celery.errors import ConfigurationError

logger = logging.getLogger("aurea_celery")

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
DEFAULT_PORT = 4000
PREFIX = "AUREA_"
DEFAULT = "default"
"""The source of a setting that nothing says."""


OTHER_VARIABLES = frozenset(
    {
        "AUREA_API_CORS_ORIGINS",
        "AUREA_API_HOSTS",
        "AUREA_API_TOKENS",
        "AUREA_AUTOINSTALL",
        "AUREA_RAISE_ERRORS",
        "AUREA_READER_PASSWORD",
    }
)
"""Environment variables of ours that are not settings of an app."""

_warned: set[str] = set()


def default_outbox_dir() -> str:
    """The user's state folder (XDG base directory specification), which survives a reboot.

    A user without a home, such as a container's that is only a number, has one among the temporary files.
    """
    try:
        base = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    except RuntimeError:
        return str(temporary_folder() / "outbox")
    return str(Path(base) / "aurea-celery" / "outbox")


def temporary_folder() -> Path:
    """Return this user's own folder among the temporary files.

    Others may write beside it: whoever uses it makes sure that it is of this user alone.
    """
    try:
        place = tempfile.gettempdir()
    except FileNotFoundError:  # none can be written, so that this one cannot either, which is said then
        place = os.sep
    return Path(place) / f"aurea-celery-{os.geteuid()}"


def _setting(
    default: Any,
    unit: str,
    sentence: str,
    *,
    least: float | None = None,
    most: float | None = None,
    words: tuple[str, ...] = (),
    is_shown: bool = True,
) -> Any:
    """One setting; ``is_shown`` says whether its value may be seen, in a log or a traceback."""
    metadata = {"unit": unit, "sentence": sentence, "least": least, "most": most, "words": words}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=is_shown)
    return field(default=default, metadata=metadata, repr=is_shown)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one :class:`aurea_celery.Aurea`, checked.

    Raises:
        ConfigurationError: By :meth:`load`, if a setting is unknown or its value does not fit.

    >>> Settings.load({"batch_events": 100}, {}, {}).batch_events
    100
    """

    enabled: bool = _setting(
        True,
        "",
        "Off: nothing is captured, and no file, thread or connection is made. If not set: off where pytest is loaded.",
    )
    include: tuple[str, ...] = _setting(
        (), "patterns", "Only tasks whose name matches one are recorded, such as 'shop.*'; empty: all."
    )
    exclude: tuple[str, ...] = _setting((), "patterns", "Tasks whose name matches one are not recorded, but counted.")
    sample_rate: float = _setting(
        1.0,
        "share",
        "How many of the executions without a model call are recorded, from 0 to 1; the others are counted.",
        least=0,
        most=1,
    )
    tags: Any = _setting(
        dict, "", "Tags of every row: a dictionary, team=search,region=eu, or a function that makes one of the task."
    )
    tag_headers: tuple[str, ...] = _setting((), "headers", "Headers of a task's message that become tags of its row.")
    worker_label: str = _setting("", "", "What rows name as their worker; empty: the worker's host name.")
    capture_eager: bool = _setting(False, "", "On: tasks run by .apply() or task_always_eager are recorded too.")
    queue: str = _setting("aurea_metrics", "", "The queue between the host's processes and the writer.")
    queue_max_messages: int = _setting(
        10_000,
        "messages",
        "With this many messages waiting, events stay in the outbox until a writer catches up.",
        least=1,
    )
    queue_arguments: dict[str, Any] = _setting(
        dict, "", "Broker arguments of the queue, such as {'x-queue-type': 'quorum'} on RabbitMQ."
    )
    broker_url: str = _setting(
        "",
        "",
        "The broker to send events to, and for the writer to take them from; empty: the app's own.",
        is_shown=False,
    )
    broker_timeout_seconds: float = _setting(
        2.0, "seconds", "How long one network call of the publisher may take.", least=0.1
    )
    delivery: str = _setting(
        "background",
        "",
        "When events are sent: 'background', some time after their task; 'sync', before the task is acknowledged.",
        words=("background", "sync"),
    )
    sync_timeout_seconds: float = _setting(
        0.5,
        "seconds",
        "With 'sync': how long a task waits for the broker, once; then its event goes through the outbox.",
        least=0.01,
    )
    outbox_dir: str = _setting(
        default_outbox_dir, "", "Folder for events on their way; local disk, not a network share."
    )
    outbox_max_bytes: int = _setting(
        256 * 1024 * 1024,
        "bytes",
        "Most disk one process may use for events on their way; above it new events are dropped and counted.",
        least=1024 * 1024,
    )
    batch_events: int = _setting(500, "events", "Most events in one message; at most 10,000.", least=1, most=10_000)
    keep_sent_seconds: float = _setting(
        3600.0,
        "seconds",
        "How long sent events stay in the outbox if no writer says that they are committed; 0: not at all.",
        least=0,
    )
    resend_seconds: float = _setting(
        30.0,
        "seconds",
        "When events are sent again that the broker has lost and no writer has committed.",
        least=1,
    )
    budget_refresh_seconds: float = _setting(
        1.0,
        "seconds",
        "How often a host asks the writer which budgets are used up; 0: not at all, and none is enforced.",
        least=0,
    )
    flush_interval_seconds: float = _setting(1.0, "seconds", "How often events are sent.", least=0.01)
    shutdown_flush_seconds: float = _setting(
        2.0,
        "seconds",
        "How long a stopping process may spend sending what is left; the rest stays in the outbox.",
        least=0,
    )
    writer_visibility_timeout_seconds: int = _setting(
        60, "seconds", "On Redis: when a message of a killed writer goes to another one.", least=1
    )
    retention_days: int = _setting(
        0, "days", "aurea_celery.prune drops rows that are older, and keeps their sums; 0: none.", least=0, most=36_500
    )
    database_url: str = _setting(
        "", "", "Where the writer writes: postgresql://user:password@host:5432/database.", is_shown=False
    )

    @classmethod
    def read(cls, arguments: Mapping[str, Any] = MappingProxyType({}), conf: Mapping[str, Any] | None = None) -> Self:
        """Merge arguments and Celery's configuration with this process's environment and its ``.env`` file."""
        dot_env = read_dot_env()
        _warn_about_unknown({**dot_env, **os.environ}, [one.name for one in fields(cls)])
        return cls.load(arguments, os.environ, {} if conf is None else conf, dot_env)

    @classmethod
    def load(
        cls,
        arguments: Mapping[str, Any],
        environ: Mapping[str, str],
        conf: Mapping[str, Any],
        dot_env: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Merge the sources by precedence and check every value."""
        known = {one.name: one for one in fields(cls)}
        configured = [name.removeprefix("aurea_") for name in conf if str(name).startswith("aurea_")]
        for name in (*arguments, *configured):
            if name not in known:
                raise ConfigurationError(f"aurea-celery has no setting called {name!r}; it knows: {', '.join(known)}")
        found = {name: _first_given(name, arguments, environ, conf, dot_env) for name in known}
        checked = {name: _checked(name, known[name], given.value) for name, given in found.items() if given}
        if "outbox_dir" in checked:
            checked["outbox_dir"] = _at_home(checked["outbox_dir"])
        return cls(**checked)


class Given(NamedTuple):
    """The value of a setting as it was given, and where."""

    value: Any
    source: str


def sources(
    arguments: Mapping[str, Any] = MappingProxyType({}), conf: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return where :meth:`Settings.read` takes each setting from, in words."""
    dot_env, conf = read_dot_env(), {} if conf is None else conf
    found = {one.name: _first_given(one.name, arguments, os.environ, conf, dot_env) for one in fields(Settings)}
    return {name: given.source if given else DEFAULT for name, given in found.items()}


def _first_given(
    name: str,
    arguments: Mapping[str, Any],
    environ: Mapping[str, str],
    conf: Mapping[str, Any],
    dot_env: Mapping[str, str],
) -> Given | None:
    """Return the first value that is given; an empty text is not one."""
    variable = f"{PREFIX}{name.upper()}"
    places = [
        (arguments, name, f"the argument {name}"),
        (environ, variable, f"{variable} in the environment"),
        (conf, f"aurea_{name}", f"aurea_{name} in Celery's configuration"),
        (dot_env, variable, f"{variable} in .env"),
    ]
    if name == "database_url":
        places += [
            (environ, "DATABASE_URL", "DATABASE_URL in the environment"),
            (dot_env, "DATABASE_URL", "DATABASE_URL in .env"),
        ]
    given = (Given(place.get(key), source) for place, key, source in places)
    return next((one for one in given if one.value is not None and not _is_empty_text(one.value)), None)


def _is_empty_text(value: Any) -> bool:
    return isinstance(value, str) and not value


def _checked(name: str, definition: Any, value: Any) -> Any:
    """Turn a value into the setting's type, or say what is wrong with it."""
    try:
        converted = _CONVERTERS[definition.type](value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"aurea_{name} must be of type {definition.type}; check its value") from None
    least, most, unit, words = (definition.metadata[key] for key in ("least", "most", "unit", "words"))
    if words and converted not in words:
        raise ConfigurationError(f"aurea_{name} must be one of: {', '.join(words)}")
    if least is not None and not converted >= least:
        raise ConfigurationError(f"aurea_{name} must be at least {least} {unit}")
    if most is not None and not converted <= most:
        raise ConfigurationError(f"aurea_{name} must be at most {most} {unit}")
    return converted


def _at_home(folder: str) -> str:
    """Return a folder with the user's home in the place of ``~``."""
    try:
        return str(Path(folder).expanduser())
    except RuntimeError:
        raise ConfigurationError(
            "aurea_outbox_dir begins with ~, and this user has no home; give a full path"
        ) from None


def _to_words(value: Any) -> tuple[str, ...]:
    """A list of words, or words with commas between them, as environment variables have them."""
    words = value.split(",") if isinstance(value, str) else value
    return tuple(str(word).strip() for word in words if str(word).strip())


def _to_tags(value: Any) -> Any:
    """A function, a dictionary of texts, or ``name=value`` with commas between them."""
    if callable(value):
        return value
    pairs = dict(word.split("=", 1) for word in _to_words(value)) if isinstance(value, str) else dict(value)
    return {str(name).strip(): str(text).strip() for name, text in pairs.items()}


def _to_bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(word)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "int": int,
    "float": float,
    "str": str,
    "tuple[str, ...]": _to_words,
    "dict[str, Any]": dict,
    "Any": _to_tags,
}


def read_dot_env() -> dict[str, str]:
    """Return the variables of the ``.env`` file in the working directory; none if there is none that can be read."""
    path = Path(".env")
    try:
        if not path.is_file():
            return {}
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        _warn_once(".env", "aurea-celery: the file .env cannot be read (%s), and is left out", type(error).__name__)
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - only who has such a file needs it

    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}


def read_environment() -> dict[str, str]:
    """Return the environment, with what a ``.env`` file in the working directory adds; the environment wins."""
    return {**read_dot_env(), **os.environ}


def _warn_about_unknown(environ: Mapping[str, str], settings: list[str]) -> None:
    """Warn once about each variable that looks like one of ours and is none."""
    known = {name.removeprefix(PREFIX) for name in OTHER_VARIABLES} | {name.upper() for name in settings}
    ours = (name for name in environ if name.startswith(PREFIX))
    for name in sorted(name for name in ours if name.removeprefix(PREFIX) not in known):
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
        advice = f"did you mean {PREFIX}{near[0]}?" if near else "docs/settings.md names them all"
        _warn_once(name, "aurea-celery: no setting is called %s; %s", name, advice)


def _warn_once(key: str, message: str, *args: object) -> None:
    if key not in _warned:
        _warned.add(key)
        logger.warning(message, *args)


def require_database_url(settings: Settings | None = None) -> str:
    """Return the database to use; without an app's settings it is what environment and ``.env`` say.

    Raises:
        ConfigurationError: If nothing names one, or a setting does not fit.

    >>> require_database_url(Settings(database_url="postgresql://localhost/aurea"))
    'postgresql://localhost/aurea'
    """
    url = (Settings.read() if settings is None else settings).database_url
    if not url:
        raise ConfigurationError(
            "DATABASE_URL is not set; set it to your database, such as postgresql://user:password@localhost:5432/aurea"
        )
    return url


def read_port(environ: Mapping[str, str] | None = None) -> int:
    """The API's port: ``PORT``, or 4000.

    Raises:
        ConfigurationError: If ``PORT`` is not a number from 1 to 65535.

    >>> read_port({})
    4000
    """
    text = (read_environment() if environ is None else environ).get("PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - the range of TCP ports
        raise ConfigurationError("PORT must be a number from 1 to 65535")
    return int(text)
