"""The folders that one process ships: its own, its pool children's, and some of those whose owner is dead."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aurea_celery._guard import log_once_a_minute
from aurea_celery.delivery.folder import Folder, is_owned
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.queue_look import address_of
from aurea_celery.settings import Settings

if TYPE_CHECKING:
    from kombu import Connection

LEFT_ALONE_SECONDS = 60.0
MOST_ADOPTED = 16
"""Folders of dead processes that are taken over at a time: each costs the host a file descriptor meanwhile."""


def outbox_root(connection: Connection, settings: Settings) -> Path:
    """The folder of all that goes to one broker and queue; the broker's password is not part of its name."""
    destination = hashlib.sha256(f"{address_of(connection)} {settings.queue}".encode()).hexdigest()[:12]
    return Path(settings.outbox_dir).expanduser() / destination


class Folders:
    """What lies below the outbox's root, as far as it is this process's to ship."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._known: dict[str, Folder] = {}
        self._left_alone_until: dict[str, float] = {}

    def __iter__(self) -> Iterator[Folder]:
        return iter(tuple(self._known.values()))

    def due(self) -> Iterator[Folder]:
        """The folders to ship now; takes over some of those whose owner is dead."""
        adopted = sum(folder.adopted for folder in self._known.values())
        for path in self._visible():
            folder = self._known.get(path.name) or Folder(path)
            if not folder.adopted and path.name != self._outbox.name and adopted < MOST_ADOPTED:
                adopted += self._adopt(folder)
            if folder.adopted or path.name == self._outbox.name or self.is_of_child(folder):
                self._known[path.name] = folder
                yield folder

    def is_of_child(self, folder: Folder) -> bool:
        """Whether a folder is that of a pool child of this process."""
        return folder.path.name.startswith(f"{self._outbox.name}.")

    def take_own(self) -> Folder | None:
        """The process's own folder, which is not shipped from here on."""
        return self._known.pop(self._outbox.name, None)

    def remove(self, folder: Folder) -> None:
        """Remove the folder of a dead process, everything in it having arrived."""
        try:
            folder.remove()
        except OSError as error:
            self.leave_alone(folder, error)
        self._known.pop(folder.path.name, None)

    def leave_alone(self, folder: Folder, error: Exception) -> None:
        """For a while, let another process, or a person, see to a folder that this one cannot handle."""
        self._left_alone_until[folder.path.name] = time.monotonic() + LEFT_ALONE_SECONDS
        folder.release()
        log_once_a_minute(
            "folder",
            logging.ERROR,
            "aurea-celery: cannot handle the outbox folder %s (%s); it is left as it is. Check who owns it",
            folder.path,
            type(error).__name__,
        )

    def release(self) -> None:
        """Close this process's locks, or, after a fork, its copies of its parent's, which the parent keeps."""
        for folder in self._known.values():
            folder.release()

    def _adopt(self, folder: Folder) -> bool:
        """Take over a dead process's folder, unless a living main process will."""
        try:
            return self._may_adopt(folder) and folder.adopt()
        except OSError as error:
            self.leave_alone(folder, error)
            return False

    def _may_adopt(self, folder: Folder) -> bool:
        parent, child = folder.path.name.partition(".")[::2]
        return not child or parent == self._outbox.name or not is_owned(folder.path.with_name(parent))

    def _visible(self) -> list[Path]:
        """All folders but those still being made; forgets the dead ones' that are gone.

        A living process makes its folder anew, and how far the last one was read tells what was in it.
        """
        try:
            paths = [path for path in self._outbox.root.iterdir() if path.name[0] != "."]
        except OSError:  # not made yet, or it cannot be: then events are in memory
            return []
        names = {path.name for path in paths}
        for name in self._known.keys() - names:
            if self._known[name].adopted:
                self._known.pop(name).release()
        now = time.monotonic()
        self._left_alone_until = {name: until for name, until in self._left_alone_until.items() if until > now}
        return [path for path in paths if path.name not in self._left_alone_until]
