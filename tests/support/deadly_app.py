"""The user's app, where a batch with a certain model ends the writer's process, as one that needs too much memory."""

from __future__ import annotations

import os
import signal
from datetime import datetime

from aurea_celery.events import Cost, ModelCall
from aurea_celery.pricing import PriceBook
from tests.support.user_app import app

__all__ = ["app"]

real_cost = PriceBook.cost


def cost(book: PriceBook, call: ModelCall, at: datetime) -> Cost:
    """The real cost, but for two models."""
    if call.model == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if call.model == "hungry":
        raise MemoryError
    return real_cost(book, call, at)


PriceBook.cost = cost  # type: ignore[assignment, method-assign]  # that is what this app is for
