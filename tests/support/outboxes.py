"""Outboxes, and a publisher of another process."""

from __future__ import annotations

import gc
from pathlib import Path

from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.settings import Settings
from tests.support.senders import MemorySender


def make_outbox(root: Path, batch_events: int = 500, max_bytes: int = 10**9) -> Outbox:
    """An outbox of this process."""
    return Outbox(root, batch_events=batch_events, max_bytes=max_bytes)


def publish(root: Path, sender: MemorySender) -> Publisher:
    """A publisher of another process, which adopts what it finds."""
    publisher = Publisher(make_outbox(root), sender, Settings())
    publisher.ship()
    return publisher


def open_descriptors() -> int:
    """How many descriptors this process has open, but for what nobody refers to any more."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
