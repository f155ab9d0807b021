"""From what a provider's SDK returns to a :class:`~aurea_celery.events.Usage`. Pure; imports no SDK."""

from aurea_celery.usage.responses import Reading, read_response, read_usage

__all__ = ["Reading", "read_response", "read_usage"]
