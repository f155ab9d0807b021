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
from aurea_celery.delivery.own_folder import may_be_read
from aurea_celery.queue_look import address_of
from aurea_celery.settings import Settings, temporary_folder

if TYPE_CHECKING:
    from kombu import Connection

EMERGENCY = "emergency"
LEFT_ALONE_SECONDS = 60.0
MOST_ADOPTED = 16
"""Folders of dead processes that are taken over at a time: each costs the host a file descriptor meanwhile."""


def outbox_roots(connection: Connection, settings: Settings) -> tuple[Path, Path]:
    """Return the folders of all that goes to one broker and queue; the broker's password is not part of their name.

    The first is the outbox. The second, among the temporary files, is for what cannot be written there.
    """
    destination = hashlib.sha256(f"{address_of(connection)} {settings.queue}".encode()).hexdigest()[:12]
    return Path(settings.outbox_dir) / destination, temporary_folder() / EMERGENCY / destination


class Folders:
    """What lies below the outbox's roots, as far as it is this process's to ship."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._known: dict[Path, Folder] = {}
        self._left_alone_until: dict[Path, float] = {}

    def __iter__(self) -> Iterator[Folder]:
        return iter(tuple(self._known.values()))

    def due(self) -> Iterator[Folder]:
        """The folders to ship now; takes over some of those whose owner is dead.

        A pool child ships none, also while it sends what it has in memory: two readers would remove segments of each
        other.
        """
        if self._outbox.is_of_child:
            return
        adopted = sum(folder.adopted for folder in self._known.values())
        for path in self._visible():
            folder = self._known.get(path) or Folder(path)
            if not folder.adopted and path.name != self._outbox.name and adopted < MOST_ADOPTED:
                adopted += self._adopt(folder)
            if folder.adopted or path.name == self._outbox.name or self.is_of_child(folder):
                self._known[path] = folder
                yield folder

    def is_of_child(self, folder: Folder) -> bool:
        """Whether a folder is that of a pool child of this process."""
        return folder.path.name.startswith(f"{self._outbox.name}.")

    def take_own(self) -> list[Folder]:
        """The process's own folders, which are not shipped from here on."""
        own = [path for path in self._known if path.name == self._outbox.name]
        return [self._known.pop(path) for path in own]

    def remove(self, folder: Folder) -> None:
        """Remove the folder of a dead process, everything in it having arrived."""
        try:
            folder.remove()
        except OSError as error:
            self.leave_alone(folder, error)
        self._known.pop(folder.path, None)

    def leave_alone(self, folder: Folder, error: Exception) -> None:
        """For a while, let another process, or a person, see to a folder that this one cannot handle."""
        self._left_alone_until[folder.path] = time.monotonic() + LEFT_ALONE_SECONDS
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
        if not child or parent == self._outbox.name:
            return True
        return not any(is_owned(root / parent) for root in self._outbox.roots)

    def _visible(self) -> list[Path]:
        """All folders but those still being made; forgets the dead ones' that are gone.

        A living process makes its folder anew, and how far the last one was read tells what was in it.
        """
        paths = [path for root in self._outbox.roots for path in _folders_in(root)]
        for path in self._known.keys() - set(paths):
            if self._known[path].adopted:
                self._known.pop(path).release()
        now = time.monotonic()
        self._left_alone_until = {path: until for path, until in self._left_alone_until.items() if until > now}
        return [path for path in paths if path not in self._left_alone_until]


def _folders_in(root: Path) -> list[Path]:
    """Return the folders below a root; none while it is not made, or cannot be: then events are elsewhere."""
    try:
        return [path for path in root.iterdir() if path.name[0] != "."] if may_be_read(root) else []
    except OSError:
        return []
