"""Which executions are recorded, and what is written on their rows besides what happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from typing import Any

from aurea_celery._guard import guarded
from aurea_celery.events import clean_text
from aurea_celery.settings import Settings

_RANDOM_DIGITS, _RANDOM_RANGE = 8, 2**32  # at the end of an event's id


class Selection:
    """The settings that choose and label, made ready for use on every task.

    >>> selection = Selection(Settings(include=("shop.*",), exclude=("shop.ping",)))
    >>> [selection.includes(name) for name in ("shop.pay", "shop.ping", "blog.post")]
    [True, False, False]
    """

    def __init__(self, settings: Settings) -> None:
        self.captures_eager = settings.capture_eager
        self.worker_label = clean_text(settings.worker_label) or None
        self._include, self._exclude = _matcher(settings.include), _matcher(settings.exclude)
        self._includes_all = not settings.include
        self._decided: dict[str, bool] = {}
        self._left_out_share: float = 1.0 - settings.sample_rate
        self._tags: Callable[[Any], Mapping[str, Any]] | None = settings.tags if callable(settings.tags) else None
        self._static_tags: dict[str, str] = {} if self._tags else _clean(settings.tags)
        self._tag_headers = settings.tag_headers

    def includes(self, task_name: str) -> bool:
        """Whether executions of a task are recorded."""
        decided = self._decided.get(task_name)
        if decided is None:
            wanted = self._includes_all or bool(self._include(task_name))
            decided = self._decided[task_name] = wanted and not self._exclude(task_name)
        return decided

    def samples_out(self, event_id: str) -> bool:
        """Whether an execution without a model call is left out; the same for the same id wherever it is asked."""
        if not self._left_out_share:
            return False
        return int(event_id[-_RANDOM_DIGITS:], 16) < self._left_out_share * _RANDOM_RANGE

    def tags_of(self, task: Any, request: Any, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a running task's row: the settings', what it inherits, its own headers; the last win."""
        tags = self._made_tags(task) or {} if self._tags else self._static_tags
        if not inherited and not self._tag_headers:
            return tags
        named = {name: value for name in self._tag_headers if (value := header_of(request, name)) is not None}
        return {**tags, **inherited, **_clean(named)}

    @property
    def static_tags(self) -> dict[str, str]:
        """The tags of a call that is no task."""
        return self._static_tags

    @guarded
    def _made_tags(self, task: Any) -> dict[str, str]:
        """What the user's function says; if it fails, the row has no tags of its."""
        return _clean(self._tags(task) if self._tags else {})


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    if not patterns:
        return lambda _: None
    return re.compile("|".join(translate(pattern) for pattern in patterns)).match


def _clean(tags: Mapping[str, Any]) -> dict[str, str]:
    return {clean_text(name): clean_text(value) for name, value in tags.items()}


def header_of(request: Any, name: str) -> Any:
    """A header of the task's message; where another library has put an inner dictionary, that one hides it."""
    value = getattr(request, name, None)
    return request.headers.get(name) if value is None and request.headers else value
