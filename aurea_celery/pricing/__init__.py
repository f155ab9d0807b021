"""From a model call to what it cost, or the reason why that is not known."""

from aurea_celery.pricing.book import PriceBook

__all__ = ["PriceBook"]
