"""Fresh databases on a server, cloned from a migrated template."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import sqlalchemy as sa

from aurea_celery.models import upgrade_database
from aurea_celery.storage.database import parse_url

TEMPLATE = "aurea_template"


class Databases:
    """Makes databases on one server, each used by one test and dropped after it."""

    def __init__(self, server_url: str) -> None:
        self._server = parse_url(server_url)
        self._engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._numbers = itertools.count(1)
        self._execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)", f"CREATE DATABASE {TEMPLATE}")
        upgrade_database(self._url_of(TEMPLATE))

    @contextlib.contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database with all tables, all empty."""
        with self._database(TEMPLATE) as url:
            yield url

    @contextlib.contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a database with no tables."""
        with self._database("template0") as url:
            yield url

    @contextlib.contextmanager
    def encoded(self, encoding: str) -> Iterator[str]:
        """The URL of a database in another encoding than UTF-8, with all tables, all empty."""
        with self._database("template0", f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'") as url:
            upgrade_database(url)
            yield url

    @contextlib.contextmanager
    def _database(self, template: str, options: str = "") -> Iterator[str]:
        name = f"aurea_test_{next(self._numbers)}"
        create = f"CREATE DATABASE {name} TEMPLATE {template} {options}"
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", create)
        try:
            yield self._url_of(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _url_of(self, name: str) -> str:
        url = self._server.set(drivername="postgresql", database=name)
        return url.render_as_string(hide_password=False)

    def _execute(self, *statements: str) -> None:
        with self._engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection in a transaction that is committed at the end."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection


def scalar(url: str, statement: str) -> object:
    """The one value of a query."""
    with connected(url) as connection:
        return connection.scalar(sa.text(statement))
