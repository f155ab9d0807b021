"""The user's app, where a batch with a certain model ends the writer's process, as one that needs too much memory."""

from __future__ import annotations

import os
import signal
from datetime import datetime

from aurea_celery import pricing
from aurea_celery.events import Cost, ModelCall
from tests.support.user_app import app

__all__ = ["app"]

real_price = pricing.price


def price(call: ModelCall, at: datetime) -> Cost:
    """The real price, but for two models."""
    if call.model == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if call.model == "hungry":
        raise MemoryError
    return real_price(call, at)


pricing.price = price
