"""The calls of the API, as a blueprint for anyone's Flask app. They are described in ``docs/api.md``."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState

from aurea_api import creation, exports, jobs
from aurea_api.broker_queue import Queue
from aurea_api.calls import Call, Services
from aurea_api.errors import register_error_handlers
from aurea_api.filters import Filters
from aurea_api.health import health
from aurea_api.parameters import Page
from aurea_api.paths import AnyText, requested_job
from aurea_api.prometheus import prometheus
from aurea_api.store import Store
from aurea_celery.settings import Settings, read_environment, require_database_url
from aurea_celery.storage.queries import JobSummary

JOB_PATH = "/metrics/jobs/{job_id}"
JOB_RULE = "/metrics/jobs/<aurea_any:rest>"

CALLS = (
    Call("GET", "/health", health, dict[str, Any]),
    Call("GET", "/metrics/jobs", jobs.list_jobs, jobs.JobList, query=Page),
    Call("GET", JOB_PATH, jobs.job_summary, JobSummary),
    Call("GET", f"{JOB_PATH}/details", jobs.job_details, jobs.JobRows, query=Page),
    Call("POST", "/metrics", creation.create_metric, creation.Created, status=201),
    Call("POST", "/metrics/batch", creation.create_metrics, creation.CreatedBatch, status=201),
    Call("GET", "/metrics/export.csv", exports.export_csv, str, query=Filters),
    Call("GET", "/metrics/export.jsonl", exports.export_jsonl, str, query=Filters),
    Call("GET", "/metrics/export.parquet", exports.export_parquet, bytes, query=Filters),
    Call("GET", "/prometheus", prometheus, str),
)
"""All calls, in the order in which they are described."""

JOB_CALLS = {call.path.removeprefix(JOB_PATH).lstrip("/"): call for call in CALLS if call.path.startswith(JOB_PATH)}
"""Those of one job, by what follows its id."""


def create_blueprint(database_url: str | None = None) -> Blueprint:
    """The calls of the API; register it with a ``url_prefix`` if you like.

    It connects on its first request, in each process anew, so that it may be made before a fork.

    Args:
        database_url: The database; ``DATABASE_URL`` if left out.

    Raises:
        ConfigurationError: If no database is named, its URL is not one of PostgreSQL's, or a setting is wrong.
    """
    settings = Settings.load({}, read_environment(), {})
    services = Services(Store(database_url or require_database_url()), Queue(settings))
    blueprint = Blueprint("aurea", __name__)
    blueprint.record_once(_add_converter)
    for call in CALLS:
        if call not in JOB_CALLS.values():
            blueprint.add_url_rule(call.path, call.name, partial(call.serve, services), methods=[call.method])
    blueprint.add_url_rule(JOB_RULE, "job", partial(_serve_job, services))
    register_error_handlers(blueprint)
    return blueprint


def _serve_job(services: Services, rest: str) -> Response:
    """Answer a call about the job that the path names."""
    job = requested_job(rest, request.environ, JOB_CALLS)
    if "\0" in job.job_id:
        jobs.unknown_job()
    return JOB_CALLS[job.part].serve(services, job.job_id)


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["aurea_any"] = AnyText
