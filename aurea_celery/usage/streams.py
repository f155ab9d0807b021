"""What the chunks of a stream say together."""

from __future__ import annotations

from typing import Any

from aurea_celery.events import Usage
from aurea_celery.usage import anthropic
from aurea_celery.usage.fields import get, text
from aurea_celery.usage.reading import Reading, read_part, read_usage

# Events that open an answer and hold nothing of it.
OPENINGS = frozenset(
    {
        "message_start",
        "ping",
        "response.created",
        "response.queued",
        "response.in_progress",
        "message-start",
    }
)


class StreamReader:
    """Reads chunk after chunk; ``reading`` is what is known so far, None if nothing is.

    Providers send the whole until then, so that the last word counts; LangChain sends shares, which add up.

    >>> reader = StreamReader()
    >>> reader.add({"choices": [{}], "usage": None})
    >>> reader.add({"model": "gpt-4", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})
    >>> reader.reading.usage.token_count
    10
    """

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self._message: dict[str, Any] = {}

    def add(self, chunk: Any) -> None:
        """Take the next chunk.

        Raises:
            UsageError: If its counts contradict each other; then what was known before stays.
        """
        reading = read_part(chunk)
        if reading is None:
            return
        kind, before = text(chunk, "type"), self.reading
        if kind in {"message_start", "message_delta", "message_stop"}:
            reading = reading._replace(usage=self._with_message(chunk) or reading.usage)
        elif kind == "AIMessageChunk" and before is not None:
            reading = reading._replace(usage=sum_of(before.usage, reading.usage))
        self.reading = reading if before is None else _over(before, reading)

    def _with_message(self, event: Any) -> Usage | None:
        message = get(event, "message")
        self._message = anthropic.merged(self._message, get(event if message is None else message, "usage"))
        return read_usage(self._message)


def begins_answer(chunk: Any) -> bool:
    """Whether a chunk is part of the answer, and not only said before it.

    >>> begins_answer({"type": "message_start"}), begins_answer({"choices": []})
    (False, True)
    """
    return text(chunk, "type") not in OPENINGS and get(chunk, "messageStart") is None


def sum_of(one: Usage, other: Usage) -> Usage:
    """Both together; what neither knows is not known.

    >>> usage = sum_of(Usage(input_tokens=3, output_tokens=0), Usage(input_tokens=0, output_tokens=5))
    >>> usage.input_tokens, usage.output_tokens
    (3, 5)
    """
    counts = {}
    for name in Usage.__struct_fields__:
        known = [count for count in (getattr(one, name), getattr(other, name)) if count is not None]
        counts[name] = sum(known) if known else None
    return Usage(**counts)


def _over(before: Reading, later: Reading) -> Reading:
    """What was said later, and before that only what is not said again."""
    return later._replace(**{name: old for name, old in before._asdict().items() if getattr(later, name) is None})
