"""Every setting: name, unit, default, one sentence.

A setting called ``flush_interval_seconds`` is read from, first that answers: the argument ``flush_interval_seconds=``
of :class:`aurea_celery.Aurea`, the environment variable ``AUREA_FLUSH_INTERVAL_SECONDS``, Celery's configuration
``aurea_flush_interval_seconds``, the default. ``DATABASE_URL`` and ``PORT`` keep the names everybody knows, and are
also read from a ``.env`` file in the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from aurea_celery.errors import ConfigurationError

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
DEFAULT_PORT = 4000


def default_outbox_dir() -> str:
    """The user's state folder (XDG base directory specification), which survives a reboot."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return str(Path(base) / "aurea-celery" / "outbox")


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

    enabled: bool = _setting(True, "", "Off: nothing is captured, and no file, thread or connection is made.")
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
    broker_url: str = _setting("", "", "The broker to send events to; empty: the app's own.", is_shown=False)
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
    def load(cls, arguments: Mapping[str, Any], environ: Mapping[str, str], conf: Mapping[str, Any]) -> Settings:
        """Merge the sources by precedence and check every value."""
        known = {one.name: one for one in fields(cls)}
        configured = [name.removeprefix("aurea_") for name in conf if str(name).startswith("aurea_")]
        for name in (*arguments, *configured):
            if name not in known:
                raise ConfigurationError(f"aurea-celery has no setting called {name!r}; it knows: {', '.join(known)}")
        values: dict[str, Any] = {}
        for name in known:
            value = _first_given(name, arguments, environ, conf)
            if value is not MISSING:
                values[name] = value
        checked = {name: _checked(name, known[name], value) for name, value in values.items()}
        return cls(**checked)


def _first_given(name: str, arguments: Mapping[str, Any], environ: Mapping[str, str], conf: Mapping[str, Any]) -> Any:
    if arguments.get(name) is not None:
        return arguments[name]
    variable = "DATABASE_URL" if name == "database_url" else f"AUREA_{name.upper()}"
    if environ.get(variable):
        return environ[variable]
    value = conf.get(f"aurea_{name}")
    return MISSING if value is None else value


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


def read_environment() -> dict[str, str]:
    """The environment, with what a ``.env`` file in the working directory adds; the real environment wins."""
    from dotenv import dotenv_values  # noqa: PLC0415 - only commands, the writer and the API need it

    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**from_file, **os.environ}


def require_database_url(environ: Mapping[str, str] | None = None) -> str:
    """The database to use.

    Raises:
        ConfigurationError: If ``DATABASE_URL`` is neither in the environment nor in ``.env``.

    >>> require_database_url({"DATABASE_URL": "postgresql://localhost/aurea"})
    'postgresql://localhost/aurea'
    """
    url = (read_environment() if environ is None else environ).get("DATABASE_URL", "")
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
