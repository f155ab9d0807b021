"""A function of ours that is called with keywords it does not know: said in the log, and the host's code goes on."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

from aurea_celery._guard import log_once_a_minute

P = ParamSpec("P")
R = TypeVar("R")

OTHER_NAMES = {
    "cache_creation_input_tokens": "cache_write_input_tokens",
    "cached_tokens": "cache_read_input_tokens",
    "completion_tokens": "output_tokens",
    "cost": "cost_usd",
    "cost_estimate": "cost_usd",
    "duration_ms": "latency_ms",
    "model_name": "model",
    "model_used": "model",
    "prompt_tokens": "input_tokens",
    "reasoning_tokens": "reasoning_output_tokens",
    "token_count": "total_tokens",
    "tokens": "total_tokens",
}
"""What SDKs and our own table call the same thing."""


def forgiving(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function warn of what it does not know and go on without that.

    Counts beside a keyword that is not known may lack one, so they are left out too: not known is not zero.

    >>> @forgiving
    ... def record(*, input_tokens: int = 0, model: str = "") -> tuple[int, str]:
    ...     return input_tokens, model
    >>> record(input_tokens=5, model="gpt-4"), record(input_tokens=5, model="gpt-4", surprise=1)
    ((5, 'gpt-4'), (0, 'gpt-4'))
    """
    parameters = inspect.signature(function).parameters
    names = parameters.keys()
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > len(positional) or not kwargs.keys() <= names:
            _warn(function.__name__, kwargs.keys() - names, len(positional), names)
            kept: Any = {name: kwargs[name] for name in kwargs.keys() & names if not name.endswith("_tokens")}
            known: Any = args[: len(positional)]
            return function(*known, **kept)
        return function(*args, **kwargs)

    return call


def _warn(function: str, unknown: Collection[str], most: int, names: Collection[str]) -> None:
    """Say what is not known, and what may be meant."""
    if unknown:
        problem = "does not take " + ", ".join(sorted(f"{name!r}{_meant(name, names)}" for name in unknown))
    else:
        problem = f"takes no more than {most} argument without a name, such as input_tokens=90"
    log_once_a_minute(
        f"{function} {problem}",
        logging.WARNING,
        "aurea-celery: %s %s; the call is recorded without the counts given beside it",
        function,
        problem,
    )


def _meant(name: str, names: Collection[str]) -> str:
    near = [OTHER_NAMES[name]] if name in OTHER_NAMES else difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]!r}?)" if near and near[0] in names else ""
