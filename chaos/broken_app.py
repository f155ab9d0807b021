"""The same app with a bug put into it on purpose: its writer lets go of a batch before the commit.

It acknowledges the message and sends the receipt first. If it is killed then, nobody has the batch any more.
"""

from __future__ import annotations

from aurea_celery import writer
from aurea_celery.delivery.broker import WRITE_TASK, Broker
from aurea_celery.events import Receipt, decode_batch
from aurea_celery.settings import Settings
from chaos.app import app

__all__ = ["app"]

_write_metrics = writer.write_metrics


def let_go_and_write(settings: Settings, batch: str, message_id: str) -> Receipt | None:
    """Takes the place of what waits for the commit first."""
    receipt = decode_batch(batch).receipt
    if receipt is not None:
        Broker(app, settings).answer(receipt.reply_to, receipt.batch_id)
    return _write_metrics(settings, batch, message_id)


app.tasks[WRITE_TASK].acks_late = False
writer.write_metrics = let_go_and_write
