"""The calls about jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, NoReturn

from flask import abort
from msgspec import Struct

from aurea_api import cursors
from aurea_api.calls import Services
from aurea_api.filters import Period, Text, read_times
from aurea_api.parameters import Limit, NoQuery, Offset, Page, means, must_be
from aurea_api.rows import Row
from aurea_celery.storage import queries
from aurea_celery.storage.job_list import JobLine, JobQuery, JobSort, read_jobs
from aurea_celery.storage.queries import JobSummary
from aurea_celery.storage.tree import Tree, read_tree

Cursor = Annotated[
    str, must_be(f"a text of at most {cursors.MAX_CHARACTERS} characters", max_length=cursors.MAX_CHARACTERS)
]


class JobsQuery(Period, frozen=True, kw_only=True):
    """Which jobs, by when they were last updated and how their id begins, in which order, and which page."""

    prefix: Annotated[Text, means("Only jobs whose id begins so")] = ""
    sort: Annotated[
        JobSort, must_be("one of last_updated, cost, tasks"), means("What the jobs are sorted by, the greatest first")
    ] = "last_updated"
    cursor: Annotated[Cursor, means("The next_cursor of the page before, asked with the same sort and filters")] = ""
    limit: Limit = 100
    offset: Offset = 0


class JobList(Struct, frozen=True):
    """A page of all jobs, and the cursor of the next one, if there may be one."""

    jobs: list[JobLine]
    next_cursor: str | None


class JobRows(Struct, frozen=True):
    """A page of a job's rows; ``count`` is how many are on it."""

    job_id: str
    count: int
    metrics: list[Row]


def list_jobs(services: Services, query: JobsQuery) -> JobList:
    """A page of all jobs, most recently updated first, or those first that cost most or have the most tasks."""
    since, until = read_times(query, datetime.now(UTC))
    asked = JobQuery(
        sort=query.sort,
        prefix=query.prefix,
        since=since,
        until=until,
        after=cursors.read(query.cursor, query.sort) if query.cursor else None,
        limit=query.limit,
        offset=query.offset,
    )
    with services.store.connect() as connection:
        lines = read_jobs(connection, asked)
    is_full = len(lines) == query.limit
    return JobList(lines, cursors.write(lines[-1].place(query.sort), query.sort) if is_full else None)


def job_summary(services: Services, _: NoQuery, job_id: str) -> JobSummary:
    """What a job spent, in all, by task and by model."""
    with services.store.connect() as connection:
        return queries.job_summary(connection, job_id) or unknown_job()


def job_details(services: Services, page: Page, job_id: str) -> JobRows:
    """A page of a job's rows, newest first."""
    with services.store.connect() as connection:
        rows = queries.job_details(connection, job_id, page.limit, page.offset)
        if not rows and not queries.job_exists(connection, job_id):
            unknown_job()
    return JobRows(job_id, len(rows), rows)


def unknown_job() -> NoReturn:
    """404."""
    abort(404, "nothing is known of this job; check its id, or wait until the writer has written its first task")


def job_tree(services: Services, _: NoQuery, job_id: str) -> Tree:
    """A job as it ran: which task started which, and what each cost with all that it started."""
    with services.store.connect() as connection:
        return read_tree(connection, job_id) or unknown_job()
