"""The Celery task ``aurea_celery.prune``, for a beat schedule: the writer keeps up the table, and drops old rows.

Whoever sends it says nothing of what is dropped: how old rows may become is a setting of the process that writes.
"""

from __future__ import annotations

import logging
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aurea_celery.delivery.broker import PRUNE_TASK, Broker
from aurea_celery.errors import ConfigurationError, DatabaseError
from aurea_celery.settings import Settings, require_database_url
from aurea_celery.writer import TASK_OPTIONS, WriterTask, settings_of

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger("aurea_celery")

_registered: weakref.WeakSet[Celery] = weakref.WeakSet()


class PruneTask(WriterTask):
    """A task that always goes to the writer's queue, as our own messages do, whatever the host says of its own."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        """Called by beat, or by whoever wants it: returns once the broker has the message.

        Raises:
            ConfigurationError: If a setting is unknown or does not fit.
            Exception: Whatever the broker's transport raises.
        """
        broker = Broker(self.app, settings_of(self.app))
        try:
            return self.AsyncResult(broker.ask_to_prune())
        finally:
            broker.close()


def register(app: Celery) -> None:
    """Make an app know the task. Nothing heavy is imported."""

    def prune() -> None:
        """Make partitions, empty the default one, and drop what is older than ``aurea_retention_days``."""
        keep_up(settings_of(app))

    if app not in _registered:  # a look at its tasks would finalise it
        _registered.add(app)
        # Acknowledged at once: what is not finished then is done the next time.
        options = TASK_OPTIONS | {"base": PruneTask, "acks_late": False, "name": PRUNE_TASK}
        app.task(**options)(prune)


def keep_up(settings: Settings) -> None:
    """Drop what is too old, if the settings say so, and look after the partitions; a failure is said in the log."""
    from aurea_celery.storage import upkeep  # noqa: PLC0415 - heavy, and only for the process that writes

    try:
        url = require_database_url(settings)
        if settings.retention_days:
            found = upkeep.prune(url, timedelta(days=settings.retention_days))
            logger.info("aurea-celery: dropped %d rows from before %s", found.rows, f"{found.before:%Y-%m-%d}")
        upkeep.maintain(url)
    except (DatabaseError, ConfigurationError) as error:
        logger.error(  # noqa: TRY400 - one sentence, no traceback
            "aurea-celery: %s; rows are pruned the next time", str(error).rstrip(".")
        )
