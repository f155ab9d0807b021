"""A writer's role that does not own the tables, with the rights that ``docs/operations.md`` grants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aurea_api import create_app
from aurea_celery.clock import now_us
from aurea_celery.storage.queries import rollup_differences
from tests.support.api import METRIC, get, post
from tests.support.databases import Databases, connected, scalar
from tests.support.recorded import execution, write

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
HOUR_US = 3_600_000_000


@pytest.fixture
def roles(each_databases: Databases) -> Iterator[tuple[str, str]]:
    """The URLs of a database for its owner and for the writer's role."""
    (grants,) = re.findall(r"```sql\n(CREATE ROLE aurea_writer.*?)```", PAGE.read_text(), re.DOTALL)
    with each_databases.migrated() as url:
        parsed = sa.make_url(url)
        with connected(url) as connection:
            connection.execute(sa.text(grants.replace("DATABASE aurea ", f"DATABASE {parsed.database} ")))
        of_writer = parsed.set(username="aurea_writer", password="...")  # noqa: S106 - as on the page
        yield url, of_writer.render_as_string(hide_password=False)
        with connected(url) as connection:
            connection.execute(sa.text("DROP OWNED BY aurea_writer; DROP ROLE aurea_writer"))


def test_it_writes_condenses_and_serves(roles: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    of_owner, of_writer = roles
    with connected(of_owner) as connection:
        for week in connection.scalars(sa.text("SELECT relname FROM pg_class WHERE relname LIKE 'metrics_p2%w__'")):
            connection.execute(sa.text(f"DROP TABLE {week}"))

    write(of_writer, execution(), execution(ended_at_us=now_us() - 5 * HOUR_US))
    write(of_writer, execution())
    client = create_app(of_writer).test_client()

    assert post(client, METRIC).status == 201
    assert len(get(client, "/metrics/jobs").body["jobs"]) == 1
    assert scalar(of_owner, "SELECT sum(executions)::int FROM metrics") == 4
    assert scalar(of_owner, "SELECT count(*) > 0 FROM metrics_1h"), "hours that are over are condensed"
    assert "may not make partitions; run as the owner: aurea db maintain" in caplog.text
    assert "may not condense" not in caplog.text
    with connected(of_owner) as connection:
        assert rollup_differences(connection) == {}
