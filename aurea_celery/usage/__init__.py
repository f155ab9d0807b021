"""From what a provider's SDK returns to a :class:`~aurea_celery.events.Usage`. Pure; imports no SDK."""

from aurea_celery.usage.passive import view_of
from aurea_celery.usage.reading import Reading, read_part, read_response, read_usage
from aurea_celery.usage.spans import SpanReading, read_span
from aurea_celery.usage.streams import StreamReader, begins_answer

__all__ = [
    "Reading",
    "SpanReading",
    "StreamReader",
    "begins_answer",
    "read_part",
    "read_response",
    "read_span",
    "read_usage",
    "view_of",
]
