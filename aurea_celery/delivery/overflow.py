"""Finished events in memory, for as long as the disk cannot take them."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

OVERFLOW_EVENTS = 10_000


class Overflow:
    """A bounded queue that gives up its oldest event when it is full, of those that are not being sent. Thread-safe.

    >>> overflow = Overflow(limit=2)
    >>> [overflow.put(event) for event in (b"1", b"2", b"3")]
    [True, True, False]
    >>> overflow.read(10)
    [b'2', b'3']
    >>> overflow.commit(); len(overflow)
    0
    """

    def __init__(self, limit: int = OVERFLOW_EVENTS) -> None:
        self._events: deque[bytes] = deque()
        self._limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: bytes) -> bool:
        """Keep an event; False if one had to go for it."""
        with self._lock:
            fits = len(self._events) < self._limit
            self._events.append(event)
            if not fits:
                del self._events[self._taken]  # what was read is being sent: it would be counted as dropped, and arrive
            return fits

    def read(self, limit: int) -> list[bytes]:
        """The oldest events; they stay until :meth:`commit`."""
        with self._lock:
            events = list(islice(self._events, limit))
            self._taken = len(events)
            return events

    def commit(self) -> None:
        """Let go of what :meth:`read` gave last; it is safe elsewhere."""
        with self._lock:
            for _ in range(self._taken):
                self._events.popleft()
            self._taken = 0
