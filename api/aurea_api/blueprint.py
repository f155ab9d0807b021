"""The calls of the API, as a blueprint for anyone's Flask app. They are described in ``docs/api.md``."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState

from aurea_api import creation, exports, jobs, timeseries, totals
from aurea_api.broker_queue import Queue
from aurea_api.calls import Call, Services
from aurea_api.description import OPENAPI, PAGE, Description, show_openapi, show_page
from aurea_api.doors import Doors
from aurea_api.errors import register_error_handlers
from aurea_api.filters import Filters
from aurea_api.health import Health, health
from aurea_api.metric_fields import metric_schema
from aurea_api.parameters import Page
from aurea_api.paths import AnyText, requested_job
from aurea_api.prometheus import prometheus
from aurea_api.store import Store
from aurea_celery.settings import Settings, read_environment, require_database_url
from aurea_celery.storage.formats import CSV, JSONL, PARQUET
from aurea_celery.storage.queries import JobSummary
from aurea_celery.storage.tree import Tree

JOB_PATH = "/metrics/jobs/{job_id}"
JOB_RULE = "/metrics/jobs/<aurea_any:rest>"

CALLS = (
    Call("GET", "/health", health, Health, is_open=True),
    Call(
        "GET", "/metrics/jobs", jobs.list_jobs, jobs.JobList, query=jobs.JobsQuery, job="$response.body#/jobs/0/job_id"
    ),
    Call("GET", JOB_PATH, jobs.job_summary, JobSummary),
    Call("GET", f"{JOB_PATH}/details", jobs.job_details, jobs.JobRows, query=Page),
    Call("GET", f"{JOB_PATH}/tree", jobs.job_tree, Tree),
    Call("GET", "/metrics/summary", totals.summary, totals.Summary, query=Filters),
    Call("GET", "/metrics/tasks", totals.task_totals, totals.TaskRanking, query=totals.Ranking),
    Call("GET", "/metrics/models", totals.model_totals, totals.ModelRanking, query=totals.Ranking),
    Call("GET", "/metrics/timeseries", timeseries.timeseries, timeseries.TimeSeries, query=timeseries.SeriesQuery),
    Call(
        "POST",
        "/metrics",
        creation.create_metric,
        creation.Created,
        body=metric_schema(),
        status=201,
        errors=creation.ERRORS,
        job="$response.body#/metric/job_id",
    ),
    Call(
        "POST",
        "/metrics/batch",
        creation.create_metrics,
        creation.CreatedBatch,
        body=creation.batch_schema(),
        status=201,
        errors=creation.ERRORS,
        job="$request.body#/metrics/0/job_id",
    ),
    Call("GET", "/metrics/export.csv", exports.export_csv, CSV.media_type, query=Filters),
    Call("GET", "/metrics/export.jsonl", exports.export_jsonl, JSONL.media_type, query=Filters),
    Call("GET", "/metrics/export.parquet", exports.export_parquet, PARQUET.media_type, query=Filters, errors=(501,)),
    Call("GET", "/prometheus", prometheus, "text/plain"),
)
"""All calls, in the order in which they are described."""

OPEN = {call.name for call in CALLS if call.is_open} | {show_openapi.__name__, show_page.__name__}

JOB_CALLS = {call.path.removeprefix(JOB_PATH).lstrip("/"): call for call in CALLS if call.path.startswith(JOB_PATH)}
"""Those of one job, by what follows its id."""


def create_blueprint(database_url: str | None = None, *, doors: Doors | None = None) -> Blueprint:
    """The calls of the API; register it with a ``url_prefix`` if you like.

    It connects on its first request, in each process anew, so that it may be made before a fork.

    Args:
        database_url: The database; ``DATABASE_URL`` if left out.
        doors: Who is let in; what the environment says if left out. If your app asks that by itself, before the
            blueprint's calls, ``Doors.of_environment(os.environ, is_guarded=True)``.

    Raises:
        ConfigurationError: If no database is named, its URL is not one of PostgreSQL's, or a setting is wrong.
    """
    settings = Settings.read()
    doors = Doors.of_environment(read_environment()) if doors is None else doors
    queue = Queue(settings)
    services = Services(Store(database_url or require_database_url(settings)), queue, doors)
    blueprint = Blueprint("aurea", __name__, template_folder="templates")
    blueprint.before_request(partial(_let_in, doors))
    blueprint.after_request(lambda response: doors.dress(request, response))
    blueprint.record_once(_add_converter)
    for call in CALLS:
        if call not in JOB_CALLS.values():
            blueprint.add_url_rule(call.path, call.name, partial(call.serve, services), methods=[call.method])
    blueprint.add_url_rule(JOB_RULE, "job", partial(_serve_job, services))
    description = Description(CALLS, asks_for_tokens=bool(doors.tokens))
    for path, show in ((OPENAPI, show_openapi), (PAGE, show_page)):
        blueprint.add_url_rule(path, show.__name__, partial(show, description))
    register_error_handlers(blueprint)
    return blueprint


def _let_in(doors: Doors) -> None:
    """Ask who it is; but anyone may ask whether the API is well, and what it can do."""
    if (request.endpoint or "").rpartition(".")[2] not in OPEN:
        doors.check(request)


def _serve_job(services: Services, rest: str) -> Response:
    """Answer a call about the job that the path names."""
    job = requested_job(rest, request.environ, JOB_CALLS)
    if "\0" in job.job_id:
        jobs.unknown_job()
    return JOB_CALLS[job.part].serve(services, job.job_id)


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["aurea_any"] = AnyText
