"""The database as the blueprint uses it, in each process with connections and books of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from aurea_celery.clock import new_event_id
from aurea_celery.events import Source, TaskEvent, clean_text
from aurea_celery.price_lists import pricing_of
from aurea_celery.storage.database import check_schema, create_engine, parse_url, translating
from aurea_celery.storage.posted import Digests
from aurea_celery.storage.write import Writer

MOST_STREAMS = 2
"""How many exports one process hands out at a time; each takes a thread."""

MOST_PROBES = 2


class Store:
    """Reads from and writes to one database. Thread-safe and fork-safe; connects on first use.

    Raises:
        ConfigurationError: If the URL is not one of PostgreSQL's.
    """

    def __init__(self, url: str) -> None:
        parse_url(url)
        self._url = url
        self._by_pid: dict[int, _Process] = {}

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection to read with, to tables of this release, as they are at one moment.

        Raises:
            DatabaseUnavailable: If the server does not answer.
            SchemaMismatch: If the tables are missing, older or newer.
        """
        with self._checked(self._process().reader) as connection:
            yield connection

    @contextlib.contextmanager
    def probe(self) -> Iterator[sa.Connection]:
        """A connection to ask how the database is, which no other call can take.

        Raises:
            DatabaseUnavailable: If the server does not answer.
            SchemaMismatch: If the tables are missing, older or newer.
        """
        with self._checked(self._process().probe) as connection:
            yield connection

    @contextlib.contextmanager
    def stream(self) -> Iterator[sa.Connection]:
        """One of the few connections to read for long with, so that the other calls always have theirs.

        Raises:
            DatabaseBusy: If all of them are in use.
            DatabaseUnavailable: If the server does not answer.
            SchemaMismatch: If the tables are missing, older or newer.
        """
        with self._checked(self._process().streams) as connection:
            yield connection

    def write(self, events: list[TaskEvent], digests: Digests) -> dict[str, datetime]:
        """Write events, all of them or none, and return once they are committed; see :meth:`Writer.write_events`.

        Returns:
            Those that were posted before, by id, with their time.

        Raises:
            EventConflict: If something else was posted before with one of the ids.
            DatabaseUnavailable: If the database cannot take them now.
            SchemaMismatch: If the tables are missing, older or newer.
        """
        # The writer looks at the tables only once; a release may change while the API runs. The connection is given
        # back first: with one in hand, waiting for another one of a small pooler could last for ever.
        with self.connect():
            pass
        return self._process().write(events, digests)

    @contextlib.contextmanager
    def _checked(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with translating(self._url), engine.connect() as connection:
            check_schema(connection)
            yield connection

    def _process(self) -> _Process:
        """What belongs to this process; a forked child begins anew and leaves its parent's connections alone."""
        pid = os.getpid()
        return self._by_pid.get(pid) or self._by_pid.setdefault(pid, _Process(self._url))


class _Process:
    """The connections of one process, and its source in the books."""

    def __init__(self, url: str) -> None:
        # What the statements of one answer say belongs together.
        self.reader = create_engine(url).execution_options(isolation_level="REPEATABLE READ")
        self.probe = create_engine(url, pool_size=MOST_PROBES)
        self.streams = create_engine(url, pool_size=MOST_STREAMS, pool_wait_seconds=0)
        self._writer = Writer(url, pricing_of)
        self._source = Source(source_id=new_event_id(), host=clean_text(socket.gethostname()), pid=os.getpid())
        self._lock = threading.Lock()

    def write(self, events: list[TaskEvent], digests: Digests) -> dict[str, datetime]:
        """Write events, one request after another."""
        with self._lock:
            return self._writer.write_events(self._source, events, digests)
