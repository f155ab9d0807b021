"""The calls about jobs."""

from __future__ import annotations

from typing import NoReturn

from flask import abort
from msgspec import Struct

from aurea_api.calls import Services
from aurea_api.parameters import NoQuery, Page
from aurea_celery.storage import queries
from aurea_celery.storage.queries import JobLine, JobSummary, Metric


class JobList(Struct, frozen=True):
    """A page of all jobs."""

    jobs: list[JobLine]


class JobRows(Struct, frozen=True):
    """A page of a job's rows; ``count`` is how many are on it."""

    job_id: str
    count: int
    metrics: list[Metric]


def list_jobs(services: Services, page: Page) -> JobList:
    """A page of all jobs, most recently updated first."""
    with services.store.connect() as connection:
        return JobList(queries.jobs(connection, page.limit, page.offset))


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
